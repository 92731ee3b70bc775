// SPDX-License-Identifier: Apache-2.0
// shm/message_queue_repair: what a death, or its end, leaves of a message queue, set right.
#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "shm/message_queue_record.hpp"

namespace procession::shm {

using namespace message_queue;

MessageQueue::Mapped MessageQueue::map(const Arena& arena, const Ring& ring) {
  std::uint64_t capacity = ring.capacity;
  if (!std::has_single_bit(capacity) || capacity < kFirstRing) corrupted();
  return {ring.offset, capacity, arena.bytes({ring.offset, capacity}).data()};
}

// What somebody who was killed was at.
void MessageQueue::settle(Arena& arena, CellHeader& header, Ticket dead) {
  take_back(arena, header, dead);
  give_up(arena, header, dead);
}

// What the dead one had made the session's, but nobody will ever find.
void MessageQueue::take_back(Arena& arena, CellHeader& header, Ticket dead) {
  auto& queue = header.content<Record>();
  if (queue.putter.load(std::memory_order_acquire) != dead) return;
  std::uint64_t at = queue.putter_at;
  std::uint32_t current = queue.current & 1;
  if (kMoving - at < queue.rings.size()) {  // the new ring, or the old one
    Ring& other = queue.rings[1 - current];
    Commons::give_to(dead, arena, other.offset);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    other.offset = 0;
  } else if (at >= queue.rings[current].tail) {  // else the message is there
    if (at % 8 != 0) corrupted();
    Mapped memory = map(arena, queue.rings[current]);
    auto& entry = *reinterpret_cast<Entry*>(memory.at(at));
    entry.size(memory.left(at));
    for (Block block : entry.block_span()) Commons::give_to(dead, arena, block.offset);
  }
  queue.putter.store(0, std::memory_order_release);
}

// A message of which the dead one had some blocks already, unless it had all that was to be done.
void MessageQueue::give_up(Arena& arena, CellHeader& header, Ticket dead) {
  auto& queue = header.content<Record>();
  if (queue.taker.load(std::memory_order_acquire) != dead) return;
  std::uint64_t at = queue.taker_at;
  const Ring& from = queue.rings[queue.current & 1];
  if (at == from.head) {
    if (at % 8 != 0) corrupted();
    Mapped memory = map(arena, from);
    auto& entry = *reinterpret_cast<Entry*>(memory.at(at));
    entry.size(memory.left(at));
    std::span<Block> blocks = entry.block_span();
    entry.is_lost = !std::ranges::all_of(
        blocks, [&](Block block) { return arena.is_held_by(block.offset, Commons::kSession); });
    if (entry.is_lost) {
      for (Block block : blocks) Commons::give_to(dead, arena, block.offset);
    }
  }
  queue.taker.store(0, std::memory_order_release);
}

// If that was of no use, the next one need not try again.
void MessageQueue::settle_one(std::atomic<Ticket>& who, Commons::Settle how) {
  Ticket dead = who.load(std::memory_order_acquire);
  if (!dead) return;
  try {
    cell_->commons().settle(*cell_, dead, how);
  } catch (const base::OsError&) {  // there was no room to look
    throw;
  } catch (const std::runtime_error&) {  // some process has written where it shouldn't
    who = 0;
    throw;
  }
  who = 0;
}

// Under the putters' mutex, after somebody was killed who held it: a message that lies there counts.
void MessageQueue::repair_puts(Record& queue) {
  settle_one(queue.putter, &take_back);
  BiasedMutex::Lock getting(queue.get_mutex, cell_->commons());
  if (getting.owner_died()) repair_gets(queue);
  const Ring& from = ring();
  const Mapped& memory = map(put_ring_, from);
  std::uint32_t puts = queue.gets;
  std::uint64_t head = from.head;
  for (std::uint64_t used = memory.used(head, from.tail); used > 0;) {
    const auto& entry = *reinterpret_cast<const Entry*>(memory.at(head));
    std::uint64_t length = std::min(used, memory.left(head));
    if (entry.mark != kSkip) {
      length = entry.size(length);
      puts = entry.number + 1;
    }
    head += length;
    used -= length;
  }
  queue.puts = puts;
}

// The same for those who receive.
void MessageQueue::repair_gets(Record& queue) {
  settle_one(queue.taker, &give_up);
  if (!std::exchange(queue.is_taking, 0)) return;
  const Ring& from = ring();
  const Mapped& memory = map(get_ring_, from);
  std::uint64_t head = from.head;
  std::uint64_t tail = from.tail;
  auto entry = [&] { return reinterpret_cast<const Entry*>(memory.at(head)); };
  if (memory.used(head, tail) > 0 && entry()->mark == kSkip) head += memory.left(head);
  std::uint32_t next = queue.puts;
  if (std::uint64_t used = memory.used(head, tail)) {
    entry()->size(std::min(used, memory.left(head)));  // which throws if it isn't one
    next = entry()->number;
  }
  // Else it is there still.
  if (next != queue.taken) ++queue.lost;
  queue.gets = next;
}

// The end of the queue: what nobody has received goes with it.
void MessageQueue::end(Arena& arena, CellHeader& header) {
  auto& queue = header.content<Record>();
  auto release_messages = [&](Ring& ring) {
    Mapped memory = map(arena, ring);
    for (std::uint64_t used = memory.used(ring.head, ring.tail); used > 0;) {
      auto& entry = *reinterpret_cast<Entry*>(memory.at(ring.head));
      std::uint64_t length = std::min(used, memory.left(ring.head));
      std::vector<std::uint64_t> taken;  // as Arena::drop does it
      if (entry.mark != kSkip) {
        length = entry.size(length);
        for (Block block : entry.block_span()) {
          bool is_ours =
              !entry.is_lost && arena.hand_over_if(block.offset, Commons::kSession, arena.party());
          if (is_ours) taken.push_back(block.offset);
        }
      }
      ring.head += length;
      used -= length;
      for (std::uint64_t offset : taken) arena.release(offset);
    }
  };
  Ring& ring = queue.rings[queue.current & 1];
  try {
    release_messages(ring);
  } catch (const std::runtime_error&) {
  }
  arena.drop(ring.offset, Commons::kSession);
}

}  // namespace procession::shm
