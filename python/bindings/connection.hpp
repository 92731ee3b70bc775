// SPDX-License-Identifier: Apache-2.0
// bindings/connection: what a multiprocessing connection does with its descriptor, done natively.
//
// procession._engine.ConnectionBase; procession.connection makes a Connection of it, which the
// standard's class stands behind. Guarded by the GIL.
#pragma once

#include <nanobind/nanobind.h>

namespace procession::bindings {

void bind_connection(nanobind::module_& module);

}  // namespace procession::bindings
