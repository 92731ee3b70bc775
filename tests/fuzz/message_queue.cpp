// SPDX-License-Identifier: Apache-2.0
// shm/message_queue: messages that arrive as they were put; and once another process has written where it
// shouldn't, in the middle of it or dying with a mutex, they arrive or std::runtime_error is thrown.
#include "shm/message_queue.hpp"

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <vector>

#include "base/check.hpp"
#include "input.hpp"
#include "shm/queue_memory.hpp"

namespace procession::fuzz {

namespace {

using shm::Block;
using shm::Commons;
using shm::MessageQueue;
using shm::QueueMemory;

constexpr std::size_t kMostOperations = 300;

Commons& commons() { return Commons::instance(); }

struct Sent {
  std::uint32_t form;
  base::Bytes payload;
  std::vector<Block> blocks;
};

class Queue {
 public:
  explicit Queue(std::uint32_t most)
      : queue_(most, MessageQueue::Bells::kNo), rings_{memory().rings[0].offset} {}

  ~Queue() { guard_.end(); }

  void put(Input& input);
  void get();
  void corrupt(Input& input);
  void look();
  void drain();
  void note_rings();
  void spoil() {
    if (is_whole_) guard_.begin(ring());
    is_whole_ = false;
  }

  QueueMemory& memory() { return QueueMemory::of(queue_); }
  bool is_whole() const { return is_whole_; }

  // All that was made for it, wherever it is now: what the corrupted memory hides is lost.
  const std::vector<std::uint64_t>& blocks() const { return blocks_; }
  const std::vector<std::uint64_t>& rings() const { return rings_; }

 private:
  // The unit behind a ring, which nobody is to touch: reading it is a sanitizer's report.
  class Guard {
   public:
    void begin(const QueueMemory::Ring& ring) {
      std::vector<Block> others;
      do {
        others.push_back(commons().allocate(1));
      } while (others.back().offset != ring.offset + ring.capacity && others.size() < 8);
      block_ = others.back();
      others.pop_back();
      for (Block other : others) commons().release(other.offset);
      unit_ = {commons().bytes(block_).data(), shm::Arena::kUnit};
      ASAN_POISON_MEMORY_REGION(unit_.data(), unit_.size());
    }

    // A corrupted message may have named it; then it is somebody else's soon.
    void look() {
      try {
        if (!unit_.empty()) commons().bytes(block_);
      } catch (const std::runtime_error&) {
        end();
      }
    }

    void end() {
      if (unit_.empty()) return;
      ASAN_UNPOISON_MEMORY_REGION(unit_.data(), unit_.size());
      unit_ = {};
      commons().release(block_.offset);
    }

   private:
    Block block_;
    std::span<std::byte> unit_;
  };

  QueueMemory::Ring& ring() { return memory().rings[memory().current[0] & 1]; }

  MessageQueue queue_;
  Guard guard_;
  std::deque<Sent> sent_;
  bool is_whole_ = true;
  std::vector<std::uint64_t> blocks_;
  std::vector<std::uint64_t> rings_;
};

void Queue::note_rings() {
  guard_.look();
  for (const QueueMemory::Ring& ring : memory().rings) {
    if (std::ranges::find(rings_, ring.offset) == rings_.end()) rings_.push_back(ring.offset);
  }
}

void Queue::put(Input& input) {
  Sent message;
  message.form = input.number<std::uint8_t>();
  bool is_large = message.form % 16 == 0;
  std::size_t size = is_large ? 2 * input.number<std::uint16_t>() : input.number<std::uint8_t>();
  message.payload.assign(size, std::byte(message.form));
  for (std::size_t i = message.form % 8 < 5 ? 0 : message.form % 4; i > 0; --i) {
    message.blocks.push_back(commons().allocate(i * 100));
    blocks_.push_back(message.blocks.back().offset);
  }
  if (queue_.try_put(message.form, message.payload, message.blocks)) {
    sent_.push_back(std::move(message));
  } else {
    for (Block block : message.blocks) commons().release(block.offset);
  }
}

void Queue::get() {
  MessageQueue::Message message;
  bool was_got = queue_.try_get(message);
  if (is_whole_) {
    PROCESSION_CHECK(was_got == !sent_.empty() && message.lost == 0);
    if (!was_got) return;
    const Sent& wanted = sent_.front();
    PROCESSION_CHECK(message.form == wanted.form && message.payload == wanted.payload);
    PROCESSION_CHECK(message.blocks == wanted.blocks);
  }
  if (!sent_.empty()) sent_.pop_front();
  for (Block block : message.blocks) commons().release(block.offset);
}

// Not the mutexes: whoever writes over those stops all who want them, and no more can be said.
void Queue::corrupt(Input& input) {
  spoil();
  QueueMemory& all = memory();
  switch (input.below(6)) {
    case 0:
      fuzz::corrupt(input, std::as_writable_bytes(std::span(all.rings)));
      break;
    case 1:
      fuzz::corrupt(input, std::as_writable_bytes(std::span(all.current)));
      break;
    case 2:
      fuzz::corrupt(input, std::as_writable_bytes(std::span(&all.puts, 1)));
      break;
    case 3:
      fuzz::corrupt(input, std::as_writable_bytes(std::span(&all.gets, 1)));
      break;
    case 4:
      fuzz::corrupt(input, std::as_writable_bytes(std::span(all.sleepers)));
      break;
    default:
      fuzz::corrupt(input, commons().bytes({ring().offset, ring().capacity}), ring().head);
  }
}

void Queue::look() {
  auto now = base::Deadline::now();
  queue_.wait_for_message(now);
  queue_.wait_for_room(now);
  queue_.wait_for_all_done(now);
  queue_.task_done();
  if (is_whole_) PROCESSION_CHECK(queue_.size() == sent_.size());
}

void Queue::drain() {
  MessageQueue::Message message;
  try {
    while (queue_.try_get(message)) {
      for (Block block : message.blocks) commons().release(block.offset);
    }
  } catch (const std::runtime_error&) {
    PROCESSION_CHECK(!is_whole_);
  }
}

void operate(Queue& queue, Input& input) {
  switch (input.below(8)) {
    case 0:
    case 1:
    case 2:
      queue.put(input);
      break;
    case 3:
      queue.get();
      break;
    case 4:
    case 5:
      queue.corrupt(input);
      break;
    case 6:
      queue.spoil();
      die_with(input.below(2) == 0 ? queue.memory().put_mutex : queue.memory().get_mutex);
      break;
    default:
      queue.look();
  }
}

}  // namespace

void fuzz(Input input) {
  static const std::uint64_t in_use = commons().usage().arena.in_use;
  std::vector<std::uint64_t> made;
  {
    Queue queue(static_cast<std::uint32_t>(input.below(4) == 0 ? input.below(16) : 0));
    for (std::size_t i = 0; i < kMostOperations && !input.empty(); ++i) {
      try {
        operate(queue, input);
      } catch (const std::runtime_error&) {
        PROCESSION_CHECK(!queue.is_whole());
      }
      queue.note_rings();
    }
    if (input.below(2) == 0) queue.drain();
    made = queue.blocks();
    made.insert(made.end(), queue.rings().begin(), queue.rings().end());
  }
  for (std::uint64_t offset : made) commons().release(offset);
  PROCESSION_CHECK(commons().usage().arena.in_use == in_use);
}

}  // namespace procession::fuzz
