// SPDX-License-Identifier: Apache-2.0
// bindings/executor: what of an executor is on the way of every task.
#pragma once

#include <nanobind/nanobind.h>

namespace procession::bindings {

void bind_executor(nanobind::module_& module);

}  // namespace procession::bindings
