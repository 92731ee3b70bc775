// SPDX-License-Identifier: Apache-2.0
// bindings/pool_worker: pool/worker with Python objects, in a worker process.
#pragma once

#include <nanobind/nanobind.h>

namespace procession::bindings {

void bind_pool_worker(nanobind::module_& module);

}  // namespace procession::bindings
