// SPDX-License-Identifier: Apache-2.0
// shm/ring: records that arrive as they were written, and a reader that stays inside of its memory
// whatever somebody else has written there.
#include "shm/ring.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <deque>
#include <stdexcept>

#include "base/check.hpp"
#include "input.hpp"

namespace procession::fuzz {

namespace {

struct Ring {
  explicit Ring(std::size_t size) : bytes(size) {}

  shm::RingMemory memory() { return {&control, bytes}; }

  shm::RingControl control;
  base::Bytes bytes;  // with a sanitizer's walls around it
  shm::RingWriter writer{memory()};
  shm::RingReader reader{memory()};
  std::deque<base::Bytes> sent;
  bool is_whole = true;
};

void write(Ring& ring, Input& input) {
  std::size_t size = input.number<std::uint8_t>() % (ring.writer.largest() + 1);
  base::Bytes record(size, std::byte(size));
  base::BytesView view(record);
  if (ring.writer.try_write({view.first(size / 3), view.subspan(size / 3)})) {
    ring.sent.push_back(record);
  }
}

void read(Ring& ring) {
  std::optional<base::BytesView> record = ring.reader.peek();
  if (ring.is_whole) {
    PROCESSION_CHECK(record.has_value() == !ring.sent.empty());
    PROCESSION_CHECK(!record || std::ranges::equal(*record, ring.sent.front()));
  }
  if (!record) return;
  PROCESSION_CHECK(record->size() <= ring.bytes.size());
  base::Bytes copy(record->begin(), record->end());
  ring.reader.pop();
  if (!ring.sent.empty()) ring.sent.pop_front();
}

void corrupt_one(Ring& ring, Input& input) {
  ring.is_whole = false;
  std::array<std::atomic<std::uint64_t>*, 2> words{&ring.control.tail, &ring.control.head};
  std::size_t which = input.below(3);
  if (which == 2) {
    corrupt(input, ring.bytes);
  } else {
    corrupt(input, std::as_writable_bytes(std::span(words[which], 1)));
  }
}

}  // namespace

void fuzz(Input input) {
  Ring ring(std::size_t{32} << input.below(6));
  while (!input.empty()) {
    try {
      switch (input.below(6)) {
        case 0:
        case 1:
          write(ring, input);
          break;
        case 2:
        case 3:
          read(ring);
          break;
        case 4:
          corrupt_one(ring, input);
          break;
        default:  // another one takes over, as after a death
          ring.reader = shm::RingReader(ring.memory());
      }
    } catch (const std::runtime_error&) {
      PROCESSION_CHECK(!ring.is_whole);
      ring.reader.abandon();
    }
  }
}

}  // namespace procession::fuzz
