// SPDX-License-Identifier: Apache-2.0
// base/bytes: byte strings, and the plain little-endian fields that records are made of.
//
// Both ends of every record are the same build on the same machine, so fields are host-endian and
// fixed width. ByteReader never reads past the end: a truncated record is a std::runtime_error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace procession::base {

using Bytes = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

inline BytesView as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string_view as_text(BytesView bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// memcpy for what is mostly so few bytes, for which it makes no call.
inline constexpr std::size_t kFew = 16;
inline void copy(std::byte* to, BytesView from) noexcept {
  const std::byte* data = from.data();
  std::size_t size = from.size();
  auto both_ends = [&]<class Word>(Word first, Word last) {
    std::memcpy(&first, data, sizeof first);
    std::memcpy(&last, data + size - sizeof last, sizeof last);
    std::memcpy(to, &first, sizeof first);
    std::memcpy(to + size - sizeof last, &last, sizeof last);
  };
  if (size > kFew) {
    std::memcpy(to, data, size);
  } else if (size >= 8) {
    both_ends(std::uint64_t{}, std::uint64_t{});
  } else if (size >= 4) {
    both_ends(std::uint32_t{}, std::uint32_t{});
  } else if (size > 0) {
    to[0] = data[0];
    to[size / 2] = data[size / 2];
    to[size - 1] = data[size - 1];
  }
}

class ByteWriter {
 public:
  template <class Number>
  requires std::is_arithmetic_v<Number>
  void number(Number value) { append(std::as_bytes(std::span(&value, 1))); }

  // A 64-bit length, then the bytes.
  void bytes(BytesView value) {
    number<std::uint64_t>(value.size());
    append(value);
  }
  void text(std::string_view value) { bytes(as_bytes(value)); }

  Bytes take() noexcept { return std::move(out_); }

 private:
  void append(BytesView value) { out_.insert(out_.end(), value.begin(), value.end()); }

  Bytes out_;
};

class ByteReader {
 public:
  explicit ByteReader(BytesView in) noexcept : in_(in) {}

  template <class Number>
  requires std::is_arithmetic_v<Number> Number number() {
    if constexpr (std::is_same_v<Number, bool>) return number<std::uint8_t>() != 0;
    Number value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  // Views into the input, valid as long as it is.
  BytesView bytes() { return take(number<std::uint64_t>()); }
  std::string_view text() { return as_text(bytes()); }
  BytesView rest() noexcept { return std::exchange(in_, {}); }

 private:
  BytesView take(std::uint64_t size) {
    if (size > in_.size()) throw std::runtime_error("procession: a record ends early");
    BytesView head = in_.first(size);
    in_ = in_.subspan(size);
    return head;
  }

  BytesView in_;
};

}  // namespace procession::base
