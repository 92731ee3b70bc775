// SPDX-License-Identifier: Apache-2.0
// bindings/shared_key: the bytes by which the keys of a shared dict are compared: the same for equal
// keys, in every process.
//
// As bindings/plain writes them, but that a number that has an integer's value is that integer
// (1, 1.0, True). What isn't plain has procession.shared find another key that equals it, or bytes:
//
//   anything else            tag 8, length u64, the bytes
#pragma once

#include <nanobind/nanobind.h>

#include "base/bytes.hpp"

namespace procession::bindings {

// Appends a key. False: it is another object than what read_plain would make of the bytes. python_error
// (TypeError) if it can't be hashed.
bool write_key(PyObject* key, base::Bytes& out, nanobind::handle stand_in, int depth = 0);

}  // namespace procession::bindings
