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
#include <cstring>
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

namespace ring {

// Before each record: its length in bytes and, in the upper half, a mark of its writer's. Records begin
// at multiples of 8.
using Length = std::uint64_t;
inline constexpr Length kGoOnAtFront = ~Length{0};
constexpr Length marked(std::size_t length, std::uint32_t mark) {
  return Length{mark} << 32 | static_cast<std::uint32_t>(length);
}

constexpr std::uint64_t rounded(std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; }

}  // namespace ring

class RingWriter {
 public:
  RingWriter() = default;
  explicit RingWriter(RingMemory memory) noexcept;

  // The largest record that always finds room once the reader has caught up.
  std::size_t largest() const noexcept { return memory_.data.size() / 2 - 16; }

  // Room for a record of so many bytes, which `publish` publishes; null if there is none now. `mark` is
  // whatever its reader makes of it, but ~0.
  [[gnu::always_inline]] std::byte* try_begin(std::size_t length, std::uint32_t mark = 0) noexcept {
    std::uint64_t size = memory_.data.size();
    std::uint64_t at = tail_ & (size - 1);
    std::uint64_t needed = sizeof(ring::Length) + ring::rounded(length);
    std::uint64_t skipped = size - at < needed ? size - at : 0;
    next_ = tail_ + skipped + needed;
    if (next_ - seen_head_ > size) {
      seen_head_ = memory_.control->head.load(std::memory_order_acquire);
      if (next_ - seen_head_ > size) return nullptr;
    }
    std::byte* data = memory_.data.data();
    if (skipped > 0) {
      std::memcpy(data + at, &ring::kGoOnAtFront, sizeof ring::kGoOnAtFront);
      at = 0;
    }
    ring::Length told = ring::marked(length, mark);
    std::memcpy(data + at, &told, sizeof told);
    return data + at + sizeof told;
  }
  void publish() noexcept {
    tail_ = next_;
    memory_.control->tail.store(tail_, std::memory_order_release);
  }

  // Publishes a record made of `parts`, one after the other. False if there's no room now.
  bool try_write(std::initializer_list<base::BytesView> parts) noexcept;

  // Bytes that are published and not yet popped.
  std::size_t used() const noexcept;

 private:
  RingMemory memory_;
  std::uint64_t tail_ = 0;
  std::uint64_t seen_head_ = 0;
  std::uint64_t next_ = 0;  // the tail once the record that was begun is published
};

class RingReader {
 public:
  RingReader() = default;
  explicit RingReader(RingMemory memory) noexcept;

  // The oldest record, in place until it is popped, or nothing. std::runtime_error if the ring is
  // corrupted.
  std::optional<base::BytesView> peek() {
    if (seen_tail_ == head_) {
      seen_tail_ = memory_.control->tail.load(std::memory_order_acquire);
      if (seen_tail_ == head_) return std::nullopt;
    }
    return read();
  }
  // Of the record last peeked at.
  std::uint32_t mark() const noexcept { return mark_; }
  void pop() noexcept {
    head_ = next_;
    memory_.control->head.store(head_, std::memory_order_release);
  }

  // Lets go of all there is, read or not: of a ring that is corrupted. It can't be read any more.
  void abandon() noexcept;

  // Whether there is a record. May be asked from any thread.
  bool has_record() const noexcept;

 private:
  base::BytesView read();

  RingMemory memory_;
  std::uint64_t head_ = 0;
  std::uint64_t seen_tail_ = 0;
  std::uint64_t next_ = 0;  // where the record after the one peeked at begins
  std::uint32_t mark_ = 0;
};

}  // namespace procession::shm
