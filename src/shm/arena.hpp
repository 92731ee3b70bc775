// SPDX-License-Identifier: Apache-2.0
// shm/arena: memory without a name, for large data (>= 64 KiB) on its way between the processes of
// one session.
//
// A sparse memfd that every process maps once; pages exist when they are first needed and are used
// again while they are warm. Each process that allocates is a party and does so in its own slots of
// the file, so no lock is shared. A party owns the slots that it allocates in; each block has a
// holder, the party that is to release it, whoever's slot it lies in.
//
// SIGKILL of any process on any line hurts nobody: all that others see changes by single atomic
// stores, and reclaim() finds what the dead one owned and held.
// Not thread-safe, except find, bytes, hand_over and release. After fork, the copy calls rejoin.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/sanitizers.hpp"
#include "os/fd.hpp"
#include "os/memfd.hpp"

namespace procession::shm {

// A part of the arena: what travels. `offset` is where it begins in the file.
struct Block {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  // bytes

  bool operator==(const Block&) const = default;
};

// What the file is made of. Counted from its beginning, it consists of units of 16 KiB, and these
// make slots of 1 to 64 MiB. A block is a row of units; it may reach over slots with one owner.
//
//   0          4096                      words
//   ├──────────┼─────────────────────────┼──────────────────────────┬───────────────┬──────
//   │ Header   │ Slot × all slots        │ Word × all units         │ first slot    │ ...
//   └──────────┴─────────────────────────┴──────────────────────────┴───────────────┴──────
//    ╰──────────── slots that nobody can own ──────────────────────╯
//
// A Word says what begins at its unit, in one atomic piece:
//
//    63                                      13 12          3    2    1     0
//   ┌──────────────────────────────────────────┬─────────────┬──────┬─────────┐
//   │ size of the block in bytes               │ its holder  │ warm │ state   │
//   └──────────────────────────────────────────┴─────────────┴──────┴─────────┘
//    state: 0 no block begins here, 1 a live one, 2 one that was released and not yet collected.
//    warm: the pages of this one unit exist. If not, they may still (their maker was killed).
//    Size and holder are 0 if state is. All units of a block are warm.
// A word is written by its slot's owner; others only turn a live block into a released one or
// change its holder (compare-and-exchange).
using Word = std::atomic<std::uint64_t>;

struct Slot {
  // 0 nobody, else party + 1, and kReady once the words of its units exist.
  std::atomic<std::uint32_t> owner;
  std::uint32_t unused;
  // A bit for each 64th of the slot in which a block was released: where its owner has to look.
  std::atomic<std::uint64_t> released;
};

struct Header {
  std::uint64_t magic;
  std::uint64_t capacity;           // bytes of the file
  std::uint64_t slot_size;          // bytes
  std::atomic<std::uint64_t> seen;  // slots whose `Slot` exists; all others have no owner
};

static_assert(sizeof(Word) == 8 && Word::is_always_lock_free);
static_assert(sizeof(Slot) == 16 && offsetof(Slot, released) == 8);
static_assert(sizeof(Header) == 32 && offsetof(Header, seen) == 24);

class Arena {
 public:
  static constexpr int kParties = 1024;
  // Bytes:
  static constexpr std::uint64_t kUnit = 16 << 10;
  // TSan leaves a program no room for more than one of the other size.
  static constexpr std::uint64_t kCapacity = std::uint64_t{1} << (base::kUnderTsan ? 36 : 40);
  static constexpr std::uint64_t kSmallest = std::uint64_t{4} << 20;
  static constexpr std::uint64_t kWarm = std::uint64_t{256} << 20;

  // A new arena, whose party 0 is the caller. It is as large as can be mapped, up to `capacity`:
  // powers of two. Costs no memory to speak of. OsError if not even 4 MiB can be had.
  // `label`: what /proc shows for its descriptor.
  static Arena create(std::uint64_t capacity = kCapacity, const char* label = "procession-arena");

  // The same in a file that has its size (a power of two, 4 MiB or more) but no pages yet.
  static Arena create_in(os::Fd memory);

  // Joins the arena that another process made, as a party that is nobody else now.
  // std::runtime_error if the file is no arena.
  Arena(os::Fd memory, int party);

  // In a forked copy of a party: makes it a party of its own, which owns nothing yet.
  void rejoin(int party);

  const os::Fd& memory() const noexcept { return memory_; }  // to be passed to those who join
  std::uint64_t capacity() const noexcept { return capacity_; }
  int party() const noexcept { return party_; }

  // A block that the caller holds, aligned to 64 bytes and more. Its content is arbitrary. Pages
  // that were used before are preferred. OsError (ENOMEM) if the memory or the arena is full, even
  // after this party's warm pages have been given back; what existed is as it was.
  Block allocate(std::size_t size);

  // The live block that begins there, or std::runtime_error: offsets may come from anywhere.
  Block find(std::uint64_t offset) const;

  // Its content, valid until it is released. std::runtime_error unless it is the live block that
  // begins there or the beginning of it.
  std::span<std::byte> bytes(Block block) const;

  // Whether there is such a block and that party is to release it.
  bool is_held_by(std::uint64_t offset, int party) const noexcept;

  // Makes another party the one to release it. Where blocks travel in messages, their receivers
  // call it: a message that was sent is not lost then when its sender dies, if it is received
  // before reclaim. std::runtime_error if there is no such block.
  void hand_over(Block block, int to);

  // The same if there is one and `from` holds it.
  bool hand_over_if(std::uint64_t offset, int from, int to) noexcept;

  // Ends a block, by anybody. Its owner uses the room again. std::runtime_error if there is none.
  void release(std::uint64_t offset);

  // Ends the block that `offset` names, if `holder` has it, and forgets it: 0. Who is killed on the way has
  // taken it over, so that it goes with him.
  void drop(std::uint64_t& offset, int holder) noexcept;

  // After the process of another party has ended in whatever way, for one caller at a time: releases
  // all blocks that it held and takes over its slots, so that its number is free. Blocks in them that
  // others hold stay. Reads 8 bytes for each 16 KiB of the arena that is in use.
  void reclaim(int dead_party);

  // Collects what was released in this party's slots and gives all but `keep` bytes of the warm,
  // free pages back to the system. Slots without pages go back to all parties. 1 us a page.
  void trim(std::uint64_t keep = kWarm);

  struct Usage {
    std::uint64_t in_use = 0;  // bytes of pages of live blocks
    std::uint64_t warm = 0;    // bytes of pages that exist and are free
  };

  // Of all parties. Exact if none of them is at work meanwhile.
  Usage usage() const;

 private:
  struct Place {  // a row of units
    std::uint64_t first = 0;
    std::uint64_t count = 0;
  };

  Arena(os::SharedMapping mapping, int party);

  Header& header() const noexcept;
  Slot& slot(std::uint64_t index) const noexcept;
  Word& word(std::uint64_t unit) const noexcept;
  std::uint64_t slots() const noexcept { return capacity_ / slot_size_; }
  std::uint64_t units_per_slot() const noexcept { return slot_size_ / kUnit; }
  std::uint64_t units_per_note() const noexcept { return units_per_slot() / 64; }
  std::uint64_t words_at() const noexcept;  // offset of the first word

  Word& live_word(std::uint64_t offset) const;
  void note_release(std::uint64_t unit) const noexcept;
  std::uint64_t count_warm(Place place) const noexcept;

  Place take(std::uint64_t count);
  void make_warm(Place place);
  void cool(Place place);
  void collect();
  void collect_block(std::uint64_t unit);

  void claim(std::uint64_t count);
  bool try_claim(std::uint64_t first, std::uint64_t count);
  void see_slots(std::uint64_t end);
  std::uint64_t adopt(std::uint64_t index, std::uint64_t reached);
  void give_back_slots();

  void add_free(Place place);
  void remove_free(Place place);
  bool is_mine(Place place) const noexcept;

  os::Fd memory_;
  os::SharedMapping mapping_;
  std::uint64_t capacity_ = 0;   // as in the header, which anybody could overwrite
  std::uint64_t slot_size_ = 0;  // bytes
  int party_ = 0;
  std::set<std::uint64_t> own_;  // indices of slots
  // The free rows of units in own slots, none beside another: by place, and by size.
  std::map<std::uint64_t, std::uint64_t> free_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> by_count_;
};

// Copies `from` to the beginning of `to`, which is as long or longer. From 64 KiB on it goes past the
// caches: to take it from another CPU's costs a reader more than to take it from memory (of 64 KiB, there
// and back, 100 us against 21).
void copy(std::span<std::byte> to, std::span<const std::byte> from);

}  // namespace procession::shm
