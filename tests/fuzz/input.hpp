// SPDX-License-Identifier: Apache-2.0
// input: what a fuzzer hands to a target, taken from its front piece by piece. Past its end all is zero.
//
// A target is a file with `fuzz`, which is called in one process again and again. What it finds is a
// sanitizer's report, a failed PROCESSION_CHECK, an exception that nobody catches, or a hang.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/bytes.hpp"

namespace procession::fuzz {

class Input {
 public:
  explicit Input(base::BytesView bytes) : left_(bytes) {}

  bool empty() const noexcept { return left_.empty(); }

  template <class Number>
  requires std::is_integral_v<Number> Number number() {
    Number number{};
    base::BytesView taken = bytes(sizeof number);
    if (!taken.empty()) std::memcpy(&number, taken.data(), taken.size());
    return number;
  }

  // A number below `count`, which is 256 at most.
  std::size_t below(std::size_t count) { return number<std::uint8_t>() % count; }

  // The next `size`, or what there is.
  base::BytesView bytes(std::size_t size) {
    base::BytesView taken = left_.first(std::min(size, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  base::BytesView rest() { return bytes(left_.size()); }

 private:
  base::BytesView left_;
};

// Writes somewhere into `memory`, as a process that has lost its way: up to eight bytes of the input, or
// a number near to the one that is there. `near`: the place is looked for around that one.
inline void corrupt(Input& input, std::span<std::byte> memory, std::size_t near = 0) {
  if (memory.empty()) return;
  std::size_t at = (near + input.number<std::uint16_t>()) % memory.size();
  std::size_t size = std::min(memory.size() - at, std::size_t{1} << input.below(4));
  std::uint64_t value = 0;
  if (input.below(2) == 0) {
    std::memcpy(&value, memory.data() + at, size);
    value += static_cast<std::uint64_t>(std::int64_t{input.number<std::int8_t>()});
  } else {
    value = input.number<std::uint64_t>();
  }
  std::memcpy(memory.data() + at, &value, size);
}

void fuzz(Input input);  // each target's own

}  // namespace procession::fuzz
