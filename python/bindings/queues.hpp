// SPDX-License-Identifier: Apache-2.0
// bindings/queues: the engine's message queue with Python objects for messages.
#pragma once

#include <nanobind/nanobind.h>

namespace procession::bindings {

void bind_queues(nanobind::module_& module);

}  // namespace procession::bindings
