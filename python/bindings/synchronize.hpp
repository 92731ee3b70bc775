// SPDX-License-Identifier: Apache-2.0
// bindings/synchronize: locks, semaphores, conditions and events of the engine, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include "shm/commons.hpp"

namespace procession::bindings {

// How the name of a cell travels in a pickle.
nanobind::tuple to_python(const shm::CellName& name);
shm::CellName cell_name(const nanobind::tuple& name);

void bind_synchronize(nanobind::module_& module);

}  // namespace procession::bindings
