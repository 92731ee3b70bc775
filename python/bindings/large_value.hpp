// SPDX-License-Identifier: Apache-2.0
// bindings/large_value: large bytes and texts, whose pickle is written around their content: a pickler
// would copy that once more, into memory that is new each time.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.hpp"

namespace procession::bindings {

class LargeValue {
 public:
  // Of bytes or a text of ASCII characters that is at least so large; of anything else, nothing.
  static std::optional<LargeValue> of(PyObject* object, std::size_t least) {
    if (PyBytes_CheckExact(object)) {
      return of(std::byte{0x8e}, PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object),
                least);  // BINBYTES8
    }
    if (PyUnicode_CheckExact(object) && PyUnicode_IS_COMPACT_ASCII(object)) {
      return of(std::byte{0x8d}, PyUnicode_DATA(object), PyUnicode_GET_LENGTH(object),
                least);  // BINUNICODE8
    }
    return {};
  }

  // The pickle, in the pieces that make it up. Valid as long as this and the object are.
  std::array<base::BytesView, 3> pieces() const { return {begin_, content_, end_}; }
  std::size_t size() const { return begin_.size() + content_.size() + end_.size(); }

 private:
  static std::optional<LargeValue> of(std::byte opcode, const void* data, Py_ssize_t length,
                                      std::size_t least) {
    auto size = static_cast<std::size_t>(length);
    if (size < least) return {};
    return LargeValue(opcode, {static_cast<const std::byte*>(data), size});
  }

  LargeValue(std::byte opcode, base::BytesView content)
      : begin_{std::byte{0x80}, std::byte{5}, opcode}, content_(content) {  // PROTO 5
    std::uint64_t size = content.size();
    for (std::size_t i = 3; i < begin_.size(); ++i, size >>= 8) {
      begin_[i] = static_cast<std::byte>(size & 0xff);
    }
  }

  std::array<std::byte, 11> begin_;
  std::array<std::byte, 1> end_{std::byte{'.'}};  // STOP
  base::BytesView content_;
};

}  // namespace procession::bindings
