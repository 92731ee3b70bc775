// SPDX-License-Identifier: Apache-2.0
// channel/stream: messages over a byte stream, in the form that multiprocessing's connections have,
// so that either end may be one of those.
//
//   message = i32 length   body          lengths are big-endian
//           = i32 -1   u64 length   body                  of more than 0x7fffffff bytes
//
// One message on its way in, one on its way out; both go as far as they can without blocking, and on
// from there the next time. Never more is read than belongs to a message: the rest of the stream may
// be another process's to read. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.hpp"
#include "os/stream.hpp"

namespace procession::channel {

// An end of a stream; whoever uses it owns the descriptor.
struct StreamEnd {
  int fd = -1;
  os::StreamKind kind = os::StreamKind::kOther;
};

enum class Step {
  kDone,
  kNothing,    // to be gone on with once the stream is ready
  kSized,      // of a message on its way in: room is due
  kBadLength,  // what is read is no message
  kPeerGone,
};

class Incoming {
 public:
  // Reads on, at most about `most` bytes. After kDone the next message begins.
  Step read(StreamEnd end, std::size_t most);

  // Of the message for which room is due, or that is done.
  std::uint64_t size() const noexcept { return size_; }

  // Where the body goes, of size() bytes; it has to stay there until kDone.
  void give_room(std::span<std::byte> room) noexcept { room_ = room; }

  // Whether a part of a message has been read.
  bool has_begun() const noexcept { return header_filled_ != 0; }

 private:
  Step read_header(StreamEnd end);

  std::array<std::byte, 12> header_;
  std::size_t header_filled_ = 0;
  bool is_sized_ = false;
  std::uint64_t size_ = 0;
  std::uint64_t filled_ = 0;
  std::optional<std::span<std::byte>> room_;
};

class Outgoing {
 public:
  explicit Outgoing(base::BytesView body) noexcept;

  // Writes on: kDone, kNothing or kPeerGone.
  Step write(StreamEnd end);

  // Whether a part of the message has gone: then the rest must, too, ahead of anything else.
  bool has_begun() const noexcept { return header_gone_ != 0; }

  // Bytes that haven't gone.
  std::size_t left() const noexcept { return header_size_ - header_gone_ + body_.size(); }

  // Keeps a copy of what hasn't gone, since what it was made of will not stay.
  void keep_rest();

 private:
  std::array<std::byte, 12> header_;
  std::size_t header_size_ = 0;
  std::size_t header_gone_ = 0;
  base::BytesView body_;  // what hasn't gone
  base::Bytes kept_;
};

}  // namespace procession::channel
