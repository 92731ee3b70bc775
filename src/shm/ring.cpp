// SPDX-License-Identifier: Apache-2.0
#include "shm/ring.hpp"

#include <cstring>
#include <stdexcept>

namespace procession::shm {

using ring::kGoOnAtFront;
using ring::Length;
using ring::rounded;

RingWriter::RingWriter(RingMemory memory) noexcept
    : memory_(memory),
      tail_(memory.control->tail.load(std::memory_order_relaxed)),
      seen_head_(memory.control->head.load(std::memory_order_acquire)) {}

bool RingWriter::try_write(std::initializer_list<base::BytesView> parts) noexcept {
  std::uint64_t length = 0;
  for (base::BytesView part : parts) length += part.size();
  std::byte* at = try_begin(length);
  if (!at) return false;
  for (base::BytesView part : parts) {
    if (part.empty()) continue;
    std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  publish();
  return true;
}

std::size_t RingWriter::used() const noexcept {
  return static_cast<std::size_t>(tail_ - memory_.control->head.load(std::memory_order_acquire));
}

RingReader::RingReader(RingMemory memory) noexcept
    : memory_(memory),
      head_(memory.control->head.load(std::memory_order_relaxed)),
      seen_tail_(head_),
      next_(head_) {}

// The record at `head_`, of what has been published.
base::BytesView RingReader::read() {
  std::uint64_t size = memory_.data.size();
  std::uint64_t begin = head_;
  std::uint64_t published = seen_tail_ - begin;
  Length length = 0;
  auto read_length = [&] {
    if (published < sizeof length) throw std::runtime_error("procession: a ring is corrupted");
    std::memcpy(&length, memory_.data.data() + (begin & (size - 1)), sizeof length);
  };
  if (published > size || begin % sizeof length != 0) {
    throw std::runtime_error("procession: a ring is corrupted");
  }
  read_length();
  if (length == kGoOnAtFront) {
    std::uint64_t skipped = size - (begin & (size - 1));
    if (skipped > published) throw std::runtime_error("procession: a ring is corrupted");
    begin += skipped;
    published -= skipped;
    read_length();
  }
  mark_ = static_cast<std::uint32_t>(length >> 32);
  length = static_cast<std::uint32_t>(length);
  std::uint64_t at = (begin & (size - 1)) + sizeof length;
  if (length > size || sizeof length + rounded(length) > published || at + length > size) {
    throw std::runtime_error("procession: a ring is corrupted");
  }
  next_ = begin + sizeof length + rounded(length);
  return {memory_.data.data() + at, length};
}

void RingReader::abandon() noexcept {
  memory_.control->head.store(memory_.control->tail.load(std::memory_order_acquire),
                              std::memory_order_release);
}

bool RingReader::has_record() const noexcept {
  return memory_.control->tail.load(std::memory_order_acquire) !=
         memory_.control->head.load(std::memory_order_acquire);
}

}  // namespace procession::shm
