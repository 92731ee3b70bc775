// SPDX-License-Identifier: Apache-2.0
// channel/payload: the body of a message, inline while small, in a memfd when large.
//
// A writer appends and never has to know the size ahead; beyond kInlineLimit it goes on into memory
// without a name, so that a body of many gigabytes is written once and read in place. Neither end
// is thread-safe.
#pragma once

#include "base/bytes.hpp"
#include "os/fd.hpp"
#include "os/memfd.hpp"

namespace procession::channel {

// What a message carries. Exactly one of the two is filled.
struct Payload {
  base::Bytes inline_bytes;
  os::Fd memory;

  bool is_inline() const noexcept { return !memory.valid(); }
};

class PayloadWriter {
 public:
  static constexpr std::size_t kInlineLimit = std::size_t{16} * 1024;

  void append(base::BytesView bytes);
  Payload take();

 private:
  void spill();

  Payload payload_;
};

// The reading end: owns what was received and shows its bytes.
class PayloadReader {
 public:
  PayloadReader() = default;
  explicit PayloadReader(Payload payload);

  base::BytesView bytes() const noexcept;

 private:
  base::Bytes inline_bytes_;
  os::Mapping mapping_;
};

}  // namespace procession::channel
