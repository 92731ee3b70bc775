// SPDX-License-Identifier: Apache-2.0
// shm/ring: a bounded queue of records from one process to one other, in memory that both map.
//
// One writer, one reader; each end is for one thread at a time. No lock: what the writer had not
// published when it was killed was never sent; what the reader had not popped is still there for
// whoever looks next. A record is never split: one that doesn't fit before the end of the memory
// begins anew at its front. Lengths are checked as they are read, since the other end may be broken.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>

#include "base/bytes.hpp"

namespace procession::shm {

// Bytes published and consumed since the beginning: positions that only grow.
struct RingControl {
  alignas(64) std::atomic<std::uint64_t> tail{0};  // written by the writer
  alignas(64) std::atomic<std::uint64_t> head{0};  // written by the reader
};

struct RingMemory {
  RingControl* control = nullptr;
  std::span<std::byte> data;  // its size is a power of two
};

class RingWriter {
 public:
  RingWriter() = default;
  explicit RingWriter(RingMemory memory) noexcept;

  // The largest record that always finds room once the reader has caught up.
  std::size_t largest() const noexcept { return memory_.data.size() / 2 - 16; }

  // Publishes a record made of `parts`, one after the other. False if there's no room now.
  bool try_write(std::initializer_list<base::BytesView> parts) noexcept;

  // Bytes that are published and not yet popped.
  std::size_t used() const noexcept;

 private:
  RingMemory memory_;
  std::uint64_t tail_ = 0;
  std::uint64_t seen_head_ = 0;
};

class RingReader {
 public:
  RingReader() = default;
  explicit RingReader(RingMemory memory) noexcept;

  // The oldest record, in place until it is popped, or nothing. std::runtime_error if the ring is
  // corrupted.
  std::optional<base::BytesView> peek();
  void pop() noexcept;

  // Lets go of all there is, read or not: of a ring that is corrupted. It can't be read any more.
  void abandon() noexcept;

  // Whether there is a record. May be asked from any thread.
  bool has_record() const noexcept;

 private:
  RingMemory memory_;
  std::uint64_t head_ = 0;
  std::uint64_t seen_tail_ = 0;
  std::uint64_t next_ = 0;  // where the record after the one peeked at begins
};

}  // namespace procession::shm
