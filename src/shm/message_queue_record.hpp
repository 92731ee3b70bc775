// SPDX-License-Identifier: Apache-2.0
// shm/message_queue_record: what a message queue looks like in the memory that processes share. For the
// files of message_queue only.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "os/futex.hpp"
#include "shm/biased_mutex.hpp"
#include "shm/message_queue.hpp"

namespace procession::shm {

namespace message_queue {

constexpr std::uint64_t kFirstRing = Arena::kUnit;  // bytes
constexpr std::uint64_t kMoving = ~std::uint64_t{0};
constexpr std::uint32_t kMark = 0x4d515545;  // in each entry, to see that it is one
constexpr std::uint32_t kSkip = 0x534b4950;  // the rest of the ring is unused

constexpr std::uint64_t round_up(std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; }

[[noreturn]] void corrupted();  // std::runtime_error

}  // namespace message_queue

// Where messages lie. Positions grow for ever; entries begin at multiples of 8 and are never split.
// Each end has a cache line of its own.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
struct MessageQueue::Ring {
  std::uint64_t offset;                         // of its block; 0: none
  std::uint64_t capacity;                       // bytes, a power of two
  alignas(64) std::atomic<std::uint64_t> tail;  // written by who puts
  std::uint64_t seen_head;                      // by whom, too
  alignas(64) std::atomic<std::uint64_t> head;  // by who gets
  std::atomic<std::uint64_t> seen_tail;
};

struct MessageQueue::Entry {
  std::uint32_t mark;
  std::uint32_t form;
  std::uint32_t length;  // of the payload, which follows the blocks
  std::uint32_t blocks;
  std::int32_t producer;
  std::uint32_t number;   // of messages since the beginning, modulo 2^32
  std::uint32_t is_lost;  // somebody was killed who had taken some of its blocks
  std::uint32_t unused;

  // With all that belongs to it: std::runtime_error if it isn't one, or longer than `most`.
  std::uint64_t size(std::uint64_t most) const {
    if (most < sizeof(Entry) || mark != message_queue::kMark || blocks > kMostBlocks)
      message_queue::corrupted();
    std::uint64_t size =
        message_queue::round_up(sizeof(Entry) + std::uint64_t{blocks} * sizeof(Block) + length);
    if (size > most) message_queue::corrupted();
    return size;
  }

  std::span<Block> block_span() { return {reinterpret_cast<Block*>(this + 1), blocks}; }
  std::byte* payload() { return reinterpret_cast<std::byte*>(block_span().data() + blocks); }
};

struct MessageQueue::Record {
  // Two of them, so that one store moves all to a larger one.
  alignas(64) std::array<Ring, 2> rings;
  alignas(64) std::atomic<std::uint32_t> current;
  std::uint32_t most;
  std::atomic<std::uint32_t> wants_bell;
  std::atomic<std::uint32_t> wants_room_bell;
  BiasedMutex put_mutex;
  // Messages since the beginning, modulo 2^32, as `gets` below; those who wait for one sleep here.
  alignas(64) os::FutexWord puts;
  std::uint32_t seen_gets;
  std::atomic<Ticket> putter;  // who makes blocks the session's, with
  std::uint64_t putter_at;     // the entry at that position, or moves to ring kMoving minus that
  BiasedMutex get_mutex;
  alignas(64) os::FutexWord gets;
  std::uint32_t is_taking;  // the message of this number is being received:
  std::uint32_t taken;
  std::uint32_t lost;
  std::atomic<Ticket> taker;  // who takes over the blocks
  std::uint64_t taker_at;     // of the entry at that position
  alignas(64) std::atomic<std::uint32_t> getters_asleep;
  std::atomic<std::uint32_t> putters_asleep;
  os::FutexWord dones;
  std::atomic<std::uint32_t> joiners_asleep;
};

}  // namespace procession::shm
