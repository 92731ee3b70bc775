// SPDX-License-Identifier: Apache-2.0
// bindings/memory_error: a full memory, as Python says it.
#pragma once

#include <nanobind/nanobind.h>

#include <cerrno>

#include "base/error.hpp"

namespace procession::bindings {

// Calls `change`. Where the system has no memory for it, that is a MemoryError: "no memory for `what`".
template <class Change>
auto with_memory_error(const char* what, Change change) {
  try {
    return change();
  } catch (const base::OsError& error) {
    if (error.error_number() != ENOMEM && error.error_number() != ENOSPC) throw;
    PyErr_Format(PyExc_MemoryError, "no memory for %s: %s", what, error.what());
    throw nanobind::python_error();
  }
}

}  // namespace procession::bindings
