// SPDX-License-Identifier: Apache-2.0
// bindings/plain: values that need no pickler: which ones they are, and how the simplest travel.
//
//   None True False          a tag
//   int (of 64 bits), float  a tag, 8 bytes
//   str                      a tag, bytes per character u8, characters u64, the characters
//   bytes                    a tag, length u64, the bytes
//   tuple                    a tag, length u8, the values
//
// Exact types only, so that no code of anybody's runs. No mutable values: two references to one list
// have to stay two references to one list, as they do in a pickle.
#pragma once

#include <nanobind/nanobind.h>

#include "base/bytes.hpp"

namespace procession::bindings {

// Whether plain pickle carries an object whole: exact built-in types all the way down. `budget`: of
// objects to look at before the answer is no.
bool is_plain(PyObject* object, int& budget);

// Appends a value. False, and `out` as it was or longer, if it takes a pickler.
bool write_plain(PyObject* object, int& budget, base::Bytes& out);

// The next value; `in` goes on after it. std::runtime_error if it is torn, python_error if there is
// no memory.
nanobind::object read_plain(base::BytesView& in);

}  // namespace procession::bindings
