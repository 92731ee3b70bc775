// SPDX-License-Identifier: Apache-2.0
// shm/message_queue: messages from any process of the session to any other, first in, first out.
//
// What put() has taken is in memory that no process owns: its producer may die then. A process that is
// killed at any line inside of put or get wedges nobody: the two mutexes are robust, held for moments,
// and a message is there or not there by one store. Bounded by memory, or by a number of messages.
// Thread-safe. Bytes and blocks are opaque; a front door knows what they mean.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.hpp"
#include "base/deadline.hpp"
#include "os/fd.hpp"
#include "shm/commons.hpp"

namespace procession::shm {

class MessageQueue {
 public:
  // Longer payloads travel in a block.
  static constexpr std::size_t kMostInline = 128 << 10;
  static constexpr std::size_t kMostBlocks = 1 << 16;  // of a message

  // At most `most` messages at a time, or as many as memory holds if it is 0.
  enum class Bells { kYes, kNo };  // no: bell() and room_bell() are nobody's to call
  explicit MessageQueue(std::uint32_t most, Bells bells = Bells::kYes);

  // The bells: duplicates of those that it was made with, if it was.
  explicit MessageQueue(const CellName& name, os::Fd bell = {}, os::Fd room_bell = {});

  const std::shared_ptr<Cell>& cell() const noexcept { return cell_; }
  std::uint32_t most() const noexcept;

  struct Message {
    std::uint32_t form = 0;  // the front door's
    pid_t producer = 0;
    base::Bytes payload;
    std::vector<Block> blocks;  // held by this process from now on
    // How many messages were lost before it: those whose receiver was killed as it took them.
    std::uint32_t lost = 0;
  };

  // False if it is full. The blocks are the session's then, no more the caller's. OsError (ENOMEM) if
  // memory is; nothing has changed then. std::runtime_error if the memory of the queue is corrupted.
  bool try_put(std::uint32_t form, base::BytesView payload, std::span<const Block> blocks = {});

  // False if it is empty. The payload's memory is used again.
  bool try_get(Message& message);

  // Waits until try_put, try_get may succeed. A look that finds nothing spins for a while first.
  base::Waited wait_for_room(base::Deadline deadline);
  base::Waited wait_for_message(base::Deadline deadline);

  std::uint32_t size() const noexcept;  // exact

  // Of messages that were received: false if there is none left that wasn't said to be done.
  bool task_done();
  std::uint32_t unfinished() const noexcept;  // put and not yet done
  base::Waited wait_for_all_done(base::Deadline deadline);

  // Descriptors that are readable while there are messages, and while there is room (only of a bounded
  // queue), from the first call in any process on. To read from them is the queue's own.
  int bell();
  int room_bell();
  const os::Fd& bell_fd() const noexcept { return bell_; }
  const os::Fd& room_bell_fd() const noexcept { return room_bell_; }

 private:
  struct Record;
  struct Ring;
  struct Entry;

  Record& record() const noexcept;
  Ring& ring() const noexcept;
  // Where a ring is mapped, and its capacity as it was checked then: anybody may write over it.
  struct Mapped {
    std::uint64_t offset = 0;
    std::uint64_t capacity = 0;
    std::byte* data = nullptr;

    std::byte* at(std::uint64_t position) const { return data + (position & (capacity - 1)); }
    std::uint64_t left(std::uint64_t position) const {  // up to the ring's end
      return capacity - (position & (capacity - 1));
    }
    std::uint64_t used(std::uint64_t head, std::uint64_t tail) const;
  };
  const Mapped& map(Mapped& cached, const Ring& ring);
  void move_to(Record& queue, std::uint64_t capacity);
  void move_blocks(std::atomic<Ticket>& mover, std::uint64_t& mover_at, std::uint64_t position,
                   std::span<const Block> blocks, int to);
  void hand_over(Record& queue, std::uint64_t position, std::span<const Block> blocks);
  void take_over(Record& queue, std::uint64_t position, std::span<const Block> blocks);
  void repair_puts(Record& queue);
  void settle_one(std::atomic<Ticket>& who, Commons::Settle how);
  void repair_gets(Record& queue);
  bool receive(Record& queue, std::uint64_t position, Entry& entry, Message& message);
  enum class Put { kDone, kFull, kNoMemory };  // that it may take
  Put put(std::uint64_t need, std::uint32_t form, base::BytesView payload,
          std::span<const Block> blocks, bool may_grow);
  bool has_message() const noexcept;
  bool has_room() const noexcept;
  void quieten_bell() noexcept;
  void quieten_room_bell() noexcept;
  template <class Ready>
  base::Waited wait(os::FutexWord& word, std::atomic<std::uint32_t>& asleep,
                    base::Deadline deadline, Ready ready);
  static Mapped map(const Arena& arena, const Ring& ring);
  static void take_back(Arena& arena, CellHeader& header, Ticket dead);
  static void give_up(Arena& arena, CellHeader& header, Ticket dead);
  static void settle(Arena& arena, CellHeader& header, Ticket dead);
  static void end(Arena& arena, CellHeader& header);
  static const bool kRegistered;

  std::shared_ptr<Cell> cell_;
  os::Fd bell_;
  os::Fd room_bell_;
  Mapped put_ring_;  // that each side used last, under its mutex
  Mapped get_ring_;
  std::atomic<std::uint32_t> spin_us_{20};  // learned
  std::atomic<std::uint32_t> waits_{0};
  std::atomic<std::uint32_t> lull_{0};  // learned, too: pauses before the first look
};

}  // namespace procession::shm
