// SPDX-License-Identifier: Apache-2.0
// shm/commons: the memory that all processes of a session have in common, in which locks, queues and
// the like lie. Named by their place in it, they can travel through anything that carries bytes.
//
// A session is a process and all that it and they start. Its first process makes two memfds, which each
// start hands on. A process that uses them takes a place in the roster, and holds a mutex for life by
// which others see that it lives. A cell is a piece of memory for one object; it is there while a
// process refers to it. SIGKILL of any process on any line hurts nobody: its references and its blocks
// of the arena are released by whoever notices.
// Thread-safe. A forked copy takes a place of its own and refers to all that its parent did.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "os/fd.hpp"
#include "os/memfd.hpp"
#include "os/robust_mutex.hpp"
#include "shm/arena.hpp"

namespace procession::shm {

// A process of the session, and no other that had its place before or has it later.
//
//    31        30           29                  10 9              0
//   ┌─────────┬────────────┬──────────────────────┬────────────────┐
//   │ left to those who hold tickets in words     │ place          │
//   │         │            │ generation           │ (0: the session)│
//   └─────────┴────────────┴──────────────────────┴────────────────┘
using Ticket = std::uint32_t;
inline constexpr Ticket kPlaceMask = (1 << 10) - 1;
inline constexpr Ticket kTicketMask = (1 << 30) - 1;
inline constexpr int kPlaces = 1024;

// The longest that anybody sleeps for another process without a look: who was to wake it, or was woken
// in its place, may have been killed in that very moment.
inline constexpr std::chrono::milliseconds kLookAgain{500};

// The same for the end of a process that has no life to wait for, see Commons::life_of.
inline constexpr std::chrono::milliseconds kLookSoon{20};

// What a cell is for. Of a dead cell, kNone.
enum class CellKind : std::uint32_t {
  kNone = 0,
  kSemLock,
  kCondition,
  kEvent,
  kQueue,
  kBytes,
  kBarrier,
  kStore,
  kPipe,
};

// The beginning of each cell. What follows it is its kind's own, zero at first.
struct CellHeader {
  std::atomic<std::uint32_t> kind;
  std::uint32_t generation;  // of its place: no two objects have the same place and generation
  std::uint32_t units;
  std::uint32_t travelling;  // names that are on their way, or kForEver, for which bit 0 is set
  os::RobustMutex mutex;     // for its kind's use
  // A bit for each place that refers to it. Bit 0: it is there until the session ends.
  std::array<std::atomic<std::uint64_t>, kPlaces / 64> references;

  static constexpr std::uint32_t kForEver = ~std::uint32_t{0};

  // What follows it, where its alignment wants it, and the bytes that it takes there at most.
  template <class Record>
  Record& content() noexcept {
    constexpr std::uintptr_t kMask = alignof(Record) - 1;
    return *reinterpret_cast<Record*>((reinterpret_cast<std::uintptr_t>(this + 1) + kMask) &
                                      ~kMask);
  }
  template <class Record>
  static constexpr std::size_t kRoomFor = sizeof(Record) + alignof(Record) - 1;
};

// What travels.
struct CellName {
  std::uint64_t session = 0;
  std::uint64_t offset = 0;
  std::uint32_t generation = 0;
};

class Commons;

// This process's reference to a cell, one per process and cell.
class Cell {
 public:
  Cell(Commons& commons, CellHeader& header, std::uint64_t offset)
      : commons_(commons), header_(header), offset_(offset) {}
  ~Cell();
  Cell(const Cell&) = delete;
  Cell& operator=(const Cell&) = delete;

  Commons& commons() const noexcept { return commons_; }
  CellHeader& header() const noexcept { return header_; }
  std::uint64_t offset() const noexcept { return offset_; }
  CellName name() const noexcept;

  // The memory after the header, as its kind has it.
  template <class Record>
  Record& as() const noexcept {
    return header_.content<Record>();
  }

  // From now on it is there until the session ends: its name is on its way to somebody.
  void keep() noexcept;

  // The same, but until its name has been found as one that has arrived, as often as this is called: for
  // names that are read once.
  void keep_until_found() noexcept;

  // What this process knows of how it uses a lock, whichever of its objects are that lock.
  struct Hold {
    std::atomic<int> count{0};
    std::atomic<Ticket> by{0};              // the process that counted: a forked copy holds nothing
    std::atomic<std::uintptr_t> thread{0};  // that acquired it last, of this process
  };
  Hold& hold() noexcept { return hold_; }

 private:
  Commons& commons_;
  CellHeader& header_;
  std::uint64_t offset_;
  Hold hold_;
};

class Commons {
 public:
  // This process's, made if its parent didn't hand it on. OsError if there is no memory.
  static Commons& instance();

  // Whether this process has or was handed one.
  static bool exists() noexcept;

  // The descriptors that a new process of the session is to be handed, and what it does with them.
  std::array<int, 2> memory() const noexcept { return {roster_memory_.get(), arena_fd_}; }
  static void adopt(os::Fd roster_memory, os::Fd arena_memory);

  // This process as others see it. OsError (EUSERS) if 1023 processes have a place.
  Ticket ticket() {
    Ticket mine = own_ticket();
    return mine ? mine : first_ticket();
  }

  // The same, or 0 if it has none yet.
  Ticket own_ticket() const noexcept { return ticket_.load(std::memory_order_relaxed); }

  // Whether the process of a ticket has ended. False for the session itself.
  bool is_dead(Ticket ticket);

  // What changes when the process of a ticket ends, and its value while it doesn't; nothing if that has
  // to be looked for: the process took its place from a thread that isn't its main one.
  std::optional<os::FutexWait> life_of(Ticket ticket);

  pid_t own_pid() const noexcept { return pid_; }  // of a process that has a ticket
  pid_t pid_of(Ticket ticket) noexcept;            // 0 if its place is somebody else's now

  // A new cell with room for `size` bytes after its header, all of them zero. OsError (ENOMEM).
  std::shared_ptr<Cell> make_cell(CellKind kind, std::size_t size);

  // The cell of that name. std::runtime_error, in words for people, if it is of another session or
  // nobody refers to it any more.
  // `arrives`: see Cell::keep_until_found.
  std::shared_ptr<Cell> find_cell(CellName name, CellKind kind, bool arrives = false);

  // What is to be done when the last reference to a cell of a kind goes, with the arena in which it has
  // blocks. It may be done twice, if the process that does it is killed.
  using End = void (*)(Arena&, CellHeader&);
  // What is to be done about what a process was at in a cell as it was killed: of the blocks that it moved,
  // some may be the session's by then and some still its own. Those that nobody will find become its own
  // (`give_to`), which go with it soon. By one process at a time, and again if that one is killed.
  using Settle = void (*)(Arena&, CellHeader&, Ticket dead);
  static void on_end(CellKind kind, End end, Settle settle = nullptr);

  // Does that now, or a part of it, if nobody has yet: for who holds the mutex of what the dead one was at.
  // OsError if there is no room to map the arena.
  void settle(Cell& cell, Ticket dead, Settle how);

  // The session's block there, if there is one, becomes that process's.
  static void give_to(Ticket ticket, Arena& arena, std::uint64_t offset) noexcept;

  // Of the arena that large data lies in. Blocks whose holder is `kSession` are there until somebody
  // releases them or takes them over.
  static constexpr int kSession = 0;
  Block allocate(std::size_t size);  // held by this process
  // As the arena's: std::runtime_error if there is no such block.
  std::span<std::byte> bytes(Block block);
  void hand_over(Block block, int to);
  void take_over(Block block);  // hand_over to this process
  void release(std::uint64_t offset) noexcept;

  bool is_sessions(Block block);

  // Releases what processes that have ended referred to and held. Cheap if none has.
  void sweep();

  // Around a copy of this process that no fork(3) makes; nothing if nobody uses the commons yet.
  static void before_clone();
  static void after_clone(bool in_child);

  struct Usage {
    int processes = 0;  // that have a place and live
    int cells = 0;
    Arena::Usage arena;
  };
  Usage usage();

 private:
  struct Header;
  struct Place;
  friend class Cell;

  Commons(os::Fd roster_memory, os::Fd arena_memory, bool is_new);

  Header& header() const noexcept;
  Place& place(Ticket ticket) const noexcept;
  std::atomic<std::uint64_t>* bitmap() const noexcept;
  CellHeader& cell_at(std::uint64_t offset) const noexcept;

  Ticket first_ticket();
  void take_place();
  bool copies_have_settled(Place& parent);
  void bury_the_dead();
  void bury(Place& dead, std::uint32_t index);
  bool has_died(Place& place);
  void keep(CellHeader& cell, std::uint32_t travelling) noexcept;
  void drop(Cell& cell);
  void drop_reference(CellHeader& cell, std::uint64_t offset, std::uint32_t index);
  void free_cell(CellHeader& cell, std::uint64_t offset);
  std::uint64_t take_units(std::uint32_t units);
  void repair_cells();
  void settle_drops();
  Arena& arena();
  Arena* arena_if_any() noexcept;

  static void before_fork();
  static void after_fork_in_parent();
  static void after_fork_in_child();

  os::Fd roster_memory_;
  os::Fd arena_memory_;  // until there is an arena_
  int arena_fd_ = -1;
  os::SharedMapping mapping_;
  std::uint64_t session_ = 0;  // as in the header
  std::mutex mutex_;           // what follows
  std::atomic<Ticket> ticket_{0};
  std::unordered_map<std::uint64_t, std::weak_ptr<Cell>> cells_;
  std::vector<std::uint64_t> undropped_;  // references that a forked copy may not have taken yet
  std::optional<Arena> arena_;
  std::uint32_t buried_ = 0;
  pid_t pid_ = 0;
};

}  // namespace procession::shm
