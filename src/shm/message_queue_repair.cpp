// SPDX-License-Identifier: Apache-2.0
// shm/message_queue_repair: what a death, or its end, leaves of a message queue, set right.
#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

#include "shm/message_queue_record.hpp"

namespace procession::shm {

using namespace message_queue;

// What somebody who was killed had made the session's, but nobody will ever find. What isn't the session's
// yet goes with the dead; and if that has happened, nobody can tell any more whose it is.
void MessageQueue::take_back(Record& queue, Ticket putter) {
  Commons& commons = cell_->commons();
  auto release = [&](Block block) {
    if (commons.is_sessions(block, putter)) commons.release(block.offset);
  };
  std::uint64_t to = kMoving - queue.putter_at;
  if (to < queue.rings.size()) {
    if (to == (queue.current & 1)) return;
    std::uint64_t offset = std::exchange(queue.rings[to].offset, 0);
    if (offset) release({offset, 0});
    return;
  }
  Mapped memory = map(put_ring_, ring());
  if (queue.putter_at < ring().tail) return;  // it is there
  if (queue.putter_at % 8 != 0) corrupted();
  auto& entry = *reinterpret_cast<Entry*>(memory.at(queue.putter_at));
  entry.size(memory.left(queue.putter_at));
  for (Block block : entry.block_span()) release(block);
}

// Under the putters' mutex, after somebody was killed who held it: a message that lies there counts.
void MessageQueue::repair_puts(Record& queue) {
  if (Ticket putter = std::exchange(queue.putter, 0)) take_back(queue, putter);
  forget_old_ring(queue);
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

// Of somebody who was killed as the messages had moved, or were about to.
void MessageQueue::forget_old_ring(Record& queue) noexcept {
  Ring& old = queue.rings[1 - (queue.current & 1)];
  std::uint64_t offset = std::exchange(old.offset, 0);
  if (offset) cell_->commons().release(offset);
}

// What of it is still nobody's: what is the dead one's is released with all that it held.
void MessageQueue::give_up(Entry& entry) {
  Commons& commons = cell_->commons();
  for (Block block : entry.block_span()) {
    if (commons.is_sessions(block, entry.taker)) commons.release(block.offset);
  }
}

// The end of the queue: what nobody has received goes with it.
void MessageQueue::end(Arena& arena, CellHeader& header) {
  auto& queue = header.content<Record>();
  auto release = [&](std::uint64_t offset) {
    try {
      arena.release(offset);
    } catch (const std::runtime_error&) {  // whoever began this was killed
    }
  };
  auto release_messages = [&](Ring& ring) {
    std::uint64_t capacity = ring.capacity;
    Mapped memory{ring.offset, capacity, arena.bytes({ring.offset, capacity}).data()};
    if (!std::has_single_bit(capacity)) corrupted();
    for (std::uint64_t used = memory.used(ring.head, ring.tail); used > 0;) {
      auto& entry = *reinterpret_cast<Entry*>(memory.at(ring.head));
      std::uint64_t length = std::min(used, memory.left(ring.head));
      if (entry.mark != kSkip) {
        length = entry.size(length);
        for (Block block : entry.block_span()) {
          if (!entry.taker) release(block.offset);
        }
      }
      ring.head += length;
      used -= length;
    }
  };
  for (Ring& ring : queue.rings) {
    std::uint64_t offset = ring.offset;
    if (!offset) continue;
    if (&ring == &queue.rings[queue.current & 1]) {
      try {
        release_messages(ring);
      } catch (const std::runtime_error&) {
      }
    }
    ring.offset = 0;
    release(offset);
  }
}

}  // namespace procession::shm
