// SPDX-License-Identifier: Apache-2.0
// bindings/os_error: what the system refused, as Python says it.
#pragma once

#include <nanobind/nanobind.h>

#include "base/error.hpp"

namespace procession::bindings {

// Sets an OSError, whose constructor picks the subclass (FileNotFoundError, ...) by errno.
inline void set_os_error(const base::OsError& error) {
  nanobind::object arguments = nanobind::make_tuple(error.error_number(), error.what());
  PyErr_SetObject(PyExc_OSError, arguments.ptr());
}

}  // namespace procession::bindings
