// SPDX-License-Identifier: Apache-2.0
#include "pool/board.hpp"

#include <bit>
#include <cstring>
#include <new>
#include <stdexcept>

#include "os/barrier.hpp"

namespace procession::pool {

namespace {

constexpr std::uint64_t kMagic = 0x70726f63706f6f6c;
constexpr std::size_t kPage = 4096;

constexpr std::size_t boards_size(std::uint32_t workers) {
  std::size_t size = kPage + workers * sizeof(WorkerBoard);
  return (size + kPage - 1) / kPage * kPage;
}

std::size_t total_size(std::uint32_t workers, std::uint32_t ring_size) {
  return boards_size(workers) + workers * (std::size_t{2} * ring_size + sizeof(LastWords));
}

constexpr std::size_t kParentAt = 64;
static_assert(kParentAt >= sizeof(BoardHead));

}  // namespace

Board::Board(std::uint32_t workers, std::uint32_t ring_size, std::uint64_t max_rss)
    : fd_(os::create_sparse_memfd("procession-pool", total_size(workers, ring_size))),
      memory_(fd_),
      head_{kMagic, workers, ring_size, max_rss, os::register_for_barriers() ? 1U : 0U} {
  new (memory_.bytes().data()) BoardHead(head_);
  new (memory_.bytes().data() + kParentAt) ParentBoard;
  for (std::uint32_t i = 0; i < workers; ++i) new (&worker(i)) WorkerBoard;
}

Board::Board(os::Fd memory) : fd_(std::move(memory)), memory_(fd_) {
  std::size_t size = memory_.bytes().size();
  if (size >= kPage) std::memcpy(&head_, memory_.bytes().data(), sizeof head_);
  if (head_.magic != kMagic || !std::has_single_bit(head_.ring_size) ||
      size != total_size(head_.workers, head_.ring_size)) {
    throw std::runtime_error("procession: this is no pool's memory");
  }
}

ParentBoard& Board::parent() const noexcept {
  return *reinterpret_cast<ParentBoard*>(memory_.bytes().data() + kParentAt);
}

WorkerBoard& Board::worker(std::uint32_t index) const noexcept {
  return reinterpret_cast<WorkerBoard*>(memory_.bytes().data() + kPage)[index];
}

std::byte* Board::ring(std::uint32_t index, std::uint32_t which) const noexcept {
  std::size_t at = std::size_t{2} * index + which;
  return memory_.bytes().data() + boards_size(workers()) + at * head_.ring_size;
}

shm::RingMemory Board::calls(std::uint32_t index) const noexcept {
  return {&worker(index).calls, {ring(index, 0), head_.ring_size}};
}

shm::RingMemory Board::results(std::uint32_t index) const noexcept {
  return {&worker(index).results, {ring(index, 1), head_.ring_size}};
}

LastWords& Board::words(std::uint32_t index) const noexcept {
  return reinterpret_cast<LastWords*>(ring(workers(), 0))[index];
}

std::uint64_t Board::offset_of(const void* part) const noexcept {
  return static_cast<std::uint64_t>(static_cast<const std::byte*>(part) - memory_.bytes().data());
}

// Word by word, since a thread that waits may be looking.
void Board::reset(std::uint32_t index) noexcept {
  WorkerBoard& board = worker(index);
  for (shm::RingControl* ring : {&board.results, &board.calls}) {
    ring->head.store(0, std::memory_order_relaxed);
    ring->tail.store(0, std::memory_order_relaxed);
  }
  board.asleep.store(0, std::memory_order_relaxed);
  board.fence_first.store(1, std::memory_order_relaxed);
  board.left_cpu.store(-1, std::memory_order_relaxed);
  board.woken_from.store(-1, std::memory_order_relaxed);
  board.goes_first_on.store(-1, std::memory_order_relaxed);
  board.claimed.store(0, std::memory_order_relaxed);
  board.ended.store(0, std::memory_order_relaxed);
  board.sample.store(0, std::memory_order_relaxed);
  board.ended_seen.store(0, std::memory_order_relaxed);
  for (auto* word : {&board.revocation.asked, &board.revocation.decided, &board.revocation.from,
                     &board.revocation.up_to, &board.revocation.heard}) {
    word->store(0, std::memory_order_relaxed);
  }
  board.ring_after.store(~std::uint64_t{0}, std::memory_order_relaxed);
  board.wants_room.store(0, std::memory_order_relaxed);
  board.calls_full.store(0, std::memory_order_relaxed);
  board.has_told.store(0, std::memory_order_relaxed);
  board.heard.store(0, std::memory_order_relaxed);
  board.waits_to_be_heard.store(0, std::memory_order_relaxed);
  clear(words(index));
}

}  // namespace procession::pool
