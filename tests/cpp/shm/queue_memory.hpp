// SPDX-License-Identifier: Apache-2.0
// shm/queue_memory: the memory of a MessageQueue, for tests that write where they shouldn't.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <thread>

#include "shm/biased_mutex.hpp"
#include "shm/message_queue.hpp"

namespace procession::shm {

// As MessageQueue::Record, which is the queue's own.
struct QueueMemory {
  struct Ring {
    std::uint64_t offset;
    std::uint64_t capacity;
    alignas(64) std::uint64_t tail;
    std::uint64_t seen_head;
    alignas(64) std::uint64_t head;
    std::uint64_t seen_tail;
  };
  struct Puts {
    std::uint32_t count;
    std::uint32_t seen_gets;
    Ticket putter;
    std::uint64_t putter_at;
  };
  struct Gets {
    std::uint32_t count;
    std::uint32_t is_taking;
    std::uint32_t taken;
    std::uint32_t lost;
    Ticket taker;
    std::uint64_t taker_at;
  };
  alignas(64) std::array<Ring, 2> rings;
  alignas(64) std::array<std::uint32_t, 4> current;
  BiasedMutex put_mutex;
  alignas(64) Puts puts;
  BiasedMutex get_mutex;
  alignas(64) Gets gets;
  alignas(64) std::array<std::uint32_t, 4> sleepers;

  static QueueMemory& of(MessageQueue& queue) { return queue.cell()->as<QueueMemory>(); }
};
static_assert(sizeof(QueueMemory::Ring) == 192 && sizeof(QueueMemory) == 1792);

// Has somebody die who holds it: the kernel tells of a thread as of a process.
inline void die_with(BiasedMutex& mutex) {
  std::thread([&] {
    alignas(BiasedMutex::Lock) static std::array<std::byte, sizeof(BiasedMutex::Lock)> place;
    new (&place) BiasedMutex::Lock(mutex, Commons::instance());
  }).join();
}

}  // namespace procession::shm
