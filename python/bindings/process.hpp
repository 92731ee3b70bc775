// SPDX-License-Identifier: Apache-2.0
// bindings/process: children as Python holds them, and the three ways to start one.
#pragma once

#include <nanobind/nanobind.h>

namespace procession::bindings {

void bind_process(nanobind::module_& module);

}  // namespace procession::bindings
