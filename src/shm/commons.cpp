// SPDX-License-Identifier: Apache-2.0
#include "shm/commons.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>
#include <stdexcept>
#include <string>

#include "base/check.hpp"
#include "base/error.hpp"
#include "os/proc.hpp"
#include "os/process.hpp"

namespace procession::shm {

namespace {

constexpr std::uint64_t kMagic = 0x736e6f6d6d6f6370;  // "pcommons"
constexpr std::uint64_t kUnitBytes = 512;
constexpr std::uint64_t kUnits = std::uint64_t{1} << 19;
constexpr std::uint64_t kMostUnits = 64;  // of a cell

// How long a process whose main thread has ended may take to end itself.
constexpr int kLastBreathMs = 1000;
constexpr int kLooksAtProgram = 3;
constexpr int kLookAtProgramMs = 5;

constexpr int kForksToSweep = 64;
constexpr std::uint32_t kBurialsToTrim = 64;
constexpr std::uint64_t kKeptOfTheDead = 16 << 20;  // bytes of warm pages

// A copy that has not said within this time that it refers to what its parent does was killed before it
// could: it says so in the first microseconds of its life.
constexpr std::chrono::seconds kCopyGrace{10};

std::int64_t now() { return base::Deadline::Clock::now().time_since_epoch().count(); }

std::atomic<bool> copies_may_be_siblings{false};  // of this process

constexpr std::uint32_t kEnding = 0x80000000;  // in a cell's kind: nobody refers to it any more

std::array<Commons::End, 9> ends{};
std::array<Commons::Settle, ends.size()> settles{};

// What was handed to this process at its start.
struct Handed {
  os::Fd roster;
  os::Fd arena;
};
Handed& handed() {
  static auto* handed = new Handed;
  return *handed;
}

std::atomic<Commons*> the_commons{nullptr};
std::mutex making;

}  // namespace

// What the file is made of: Header, Place for each place, a bit for each unit, the units.
struct alignas(64) Commons::Header {
  std::uint64_t magic;
  std::uint64_t session;              // what tells it from others
  os::RobustMutex roster_mutex;       // taking and freeing places, reclaiming
  os::RobustMutex cells_mutex;        // making and freeing cells, their references
  std::atomic<std::uint32_t> places;  // those above have never been taken
  std::uint32_t generation;           // of the cell made last
  std::uint32_t words;                // those of the bitmap above are zero
  std::uint64_t making_at;            // a cell that isn't finished: its first unit, and
  std::uint32_t making_units;         // how many; 0 if there is none
};

struct alignas(64) Commons::Place {
  os::RobustMutex alive;
  std::atomic<Ticket> ticket;  // 0: free
  std::uint32_t generation;
  std::int32_t pid;
  std::atomic<std::uint32_t> watched;  // `alive` is held by the main thread
  std::uint64_t began;
  // How often the process was forked, and how many of the copies refer to what they have.
  std::atomic<std::uint64_t> forks;
  std::atomic<std::uint64_t> settled_forks;
  std::atomic<std::int64_t> forked_at;  // the last time, on the monotonic clock
};

namespace {

constexpr std::uint64_t kPlacesAt = 4096;
constexpr std::uint64_t kBitmapAt = kPlacesAt + std::uint64_t{kPlaces} * 128;
constexpr std::uint64_t kUnitsAt = kBitmapAt + kUnits / 8;
constexpr std::uint64_t kFileBytes = kUnitsAt + kUnits * kUnitBytes;

std::uint64_t offset_of(std::uint64_t unit) { return kUnitsAt + unit * kUnitBytes; }

std::uint64_t run(std::uint64_t units, std::uint64_t at) {
  return (units == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << units) - 1) << at;
}

}  // namespace

// One per process

Commons& Commons::instance() {
  if (Commons* there = the_commons.load(std::memory_order_acquire)) return *there;
  std::lock_guard lock(making);
  if (Commons* there = the_commons.load(std::memory_order_acquire)) return *there;
  Handed& given = handed();
  bool is_new = !given.roster.valid();
  if (is_new) {
    given.roster = os::create_sparse_memfd("procession-session", std::bit_ceil(kFileBytes));
    try {
      Arena made = Arena::create(Arena::kCapacity, "procession-session-arena");
      given.arena = os::duplicate(made.memory().get());
    } catch (...) {
      given.roster.reset();
      throw;
    }
  }
  // Never destroyed: cells may be dropped by static destructors of the program.
  auto* made = new Commons(std::move(given.roster), std::move(given.arena), is_new);
  os::at_fork(&before_fork, &after_fork_in_parent, &after_fork_in_child);
  the_commons.store(made, std::memory_order_release);
  return *made;
}

bool Commons::exists() noexcept {
  return the_commons.load(std::memory_order_acquire) || handed().roster.valid();
}

void Commons::adopt(os::Fd roster_memory, os::Fd arena_memory) {
  std::lock_guard lock(making);
  if (exists()) return;  // by way of a zygote that uses them itself
  handed() = {std::move(roster_memory), std::move(arena_memory)};
}

Commons::Commons(os::Fd roster_memory, os::Fd arena_memory, bool is_new)
    : roster_memory_(std::move(roster_memory)),
      arena_memory_(std::move(arena_memory)),
      arena_fd_(arena_memory_.get()),
      mapping_(roster_memory_) {
  static_assert(sizeof(Header) <= kPlacesAt && sizeof(Place) == 128);
  static_assert(sizeof(CellHeader) == 184 && offsetof(CellHeader, references) == 56);
  if (is_new) {
    os::make_pages(roster_memory_, 0, kPlacesAt);
    header().roster_mutex.init();
    header().cells_mutex.init();
    header().session =
        (static_cast<std::uint64_t>(os::current_pid()) << 40) ^
        static_cast<std::uint64_t>(base::Deadline::Clock::now().time_since_epoch().count());
    header().places = 1;
    header().magic = kMagic;
  }
  if (mapping_.bytes().size() < kFileBytes || header().magic != kMagic) {
    throw std::runtime_error("procession: what was handed on at the start is no session's memory");
  }
  session_ = header().session;
}

Commons::Header& Commons::header() const noexcept {
  return *reinterpret_cast<Header*>(mapping_.bytes().data());
}

Commons::Place& Commons::place(Ticket ticket) const noexcept {
  return reinterpret_cast<Place*>(mapping_.bytes().data() + kPlacesAt)[ticket & kPlaceMask];
}

std::atomic<std::uint64_t>* Commons::bitmap() const noexcept {
  return reinterpret_cast<std::atomic<std::uint64_t>*>(mapping_.bytes().data() + kBitmapAt);
}

CellHeader& Commons::cell_at(std::uint64_t offset) const noexcept {
  return *reinterpret_cast<CellHeader*>(mapping_.bytes().data() + offset);
}

// The roster

Ticket Commons::first_ticket() {
  std::lock_guard lock(mutex_);
  if (!ticket_) {
    take_place();
    bury_the_dead();
  }
  return ticket_;
}

// Under mutex_.
void Commons::take_place() {
  {
    os::RobustLock roster(header().roster_mutex);
    std::uint32_t index = 1;
    while (index < header().places && place(index).ticket != 0) ++index;
    if (index == kPlaces) {
      throw base::OsError(EUSERS,
                          "procession: 1023 processes of this session share locks or queues");
    }
    std::uint64_t at = kPlacesAt + index * sizeof(Place);
    os::make_pages(roster_memory_, at, sizeof(Place));
    Place& mine = place(index);
    mine.alive.init();
    mine.generation = mine.generation % (kTicketMask >> 10) + 1;
    pid_ = mine.pid = os::current_pid();
    mine.began = os::start_time(mine.pid);
    mine.forks = 0;
    mine.settled_forks = 0;
    mine.forked_at = 0;
    // The end of another thread would look like the end of the process.
    mine.watched = os::is_main_thread();
    if (mine.watched) mine.alive.hold_for_life();
    Ticket ticket = index | mine.generation << 10;
    mine.ticket.store(ticket, std::memory_order_release);
    if (index == header().places) header().places.store(index + 1, std::memory_order_release);
    ticket_ = ticket;
  }
  // In a forked copy: all that its parent referred to.
  std::uint32_t index = ticket_ & kPlaceMask;
  for (const auto& [offset, cell] : cells_) {
    cell_at(offset).references[index / 64].fetch_or(std::uint64_t{1} << index % 64);
  }
}

bool Commons::has_died(Place& place) {
  if (!place.watched.load(std::memory_order_acquire)) {
    return os::has_ended(place.pid, place.began, 0);
  }
  if (!(place.alive.word().load(std::memory_order_acquire) & os::RobustMutex::kOwnerDied)) {
    return false;
  }
  os::futex_wake(place.alive.word(), INT_MAX);  // the kernel has woken one
  Ticket ticket = place.ticket.load(std::memory_order_acquire);
  // Either it is ending, which takes a moment; or it runs another program since; or its main thread has
  // ended, which lets go of its memory a moment after its mutexes, and others go on.
  for (int looks = 0; looks < kLooksAtProgram; ++looks) {
    if (os::has_ended(place.pid, place.began, kLookAtProgramMs)) return true;
    if (!os::runs_program(place.pid)) break;
    if (looks + 1 == kLooksAtProgram) return true;
  }
  if (os::has_ended(place.pid, place.began, kLastBreathMs)) return true;
  if (place.ticket == ticket) place.watched = 0;
  return false;
}

bool Commons::is_dead(Ticket ticket) {
  ticket &= kTicketMask;
  if ((ticket & kPlaceMask) == kSession) return false;
  if (ticket == ticket_.load(std::memory_order_relaxed)) return false;
  Place& theirs = place(ticket);
  if (theirs.ticket.load(std::memory_order_acquire) != ticket) return true;
  return has_died(theirs) || theirs.ticket.load(std::memory_order_acquire) != ticket;
}

std::optional<os::FutexWait> Commons::life_of(Ticket ticket) {
  ticket &= kTicketMask;
  Place& theirs = place(ticket);
  if ((ticket & kPlaceMask) == kSession || !theirs.watched.load(std::memory_order_acquire)) {
    return std::nullopt;
  }
  os::FutexWord& word = theirs.alive.word();
  std::uint32_t value = word.load(std::memory_order_acquire);
  bool is_theirs = theirs.ticket.load(std::memory_order_acquire) == ticket;
  return os::FutexWait{&word, is_theirs ? value & ~os::RobustMutex::kOwnerDied : ~value};
}

pid_t Commons::pid_of(Ticket ticket) noexcept {
  ticket &= kTicketMask;
  pid_t pid = place(ticket).pid;
  return place(ticket).ticket.load(std::memory_order_acquire) == ticket ? pid : 0;
}

void Commons::sweep() {
  std::lock_guard lock(mutex_);
  if (!ticket_) return;
  settle_drops();
  bury_the_dead();
}

// Under mutex_, with a ticket.
void Commons::bury_the_dead() {
  std::uint32_t places = header().places.load(std::memory_order_acquire);
  for (std::uint32_t index = 1; index < places; ++index) {
    Place& theirs = place(index);
    if (theirs.ticket == 0 || theirs.ticket == ticket_ || !has_died(theirs)) continue;
    if (!arena_if_any()) return;  // another process will
    os::RobustLock roster(header().roster_mutex);
    if (theirs.ticket != 0 && has_died(theirs) && copies_have_settled(theirs)) bury(theirs, index);
  }
}

// Under mutex_ and the roster's.
void Commons::bury(Place& dead, std::uint32_t index) {
  os::futex_wake(dead.alive.word(), INT_MAX);
  {
    os::RobustLock cells(header().cells_mutex);
    if (cells.owner_died) repair_cells();
    std::uint64_t end = std::uint64_t{header().words} * 64;
    for (std::uint64_t unit = 0; unit < end;) {
      bool used = bitmap()[unit / 64] >> unit % 64 & 1;
      std::uint64_t offset = offset_of(unit);
      unit += used ? std::max(1U, cell_at(offset).units) : 1;
      if (!used) continue;
      CellHeader& cell = cell_at(offset);
      std::uint32_t kind = cell.kind.load();
      bool was_used = (cell.references[index / 64] >> index % 64 & 1) != 0;
      try {
        if (was_used && kind < settles.size() && settles[kind]) {
          settles[kind](arena(), cell, dead.ticket);
        }
      } catch (const std::runtime_error&) {  // some process has written where it shouldn't
      }
      drop_reference(cell, offset, index);
    }
  }
  arena().reclaim(static_cast<int>(index));
  // Their slots are this process's now, each to be looked through when it allocates.
  if (++buried_ % kBurialsToTrim == 0) arena().trim(kKeptOfTheDead);
  dead.ticket.store(0, std::memory_order_release);
}

void Commons::settle(Cell& cell, Ticket dead, Settle how) {
  ticket();
  std::lock_guard lock(mutex_);
  Arena& blocks = arena();
  os::RobustLock roster(header().roster_mutex);
  if (place(dead).ticket == dead) how(blocks, cell.header(), dead);
}

void Commons::give_to(Ticket ticket, Arena& arena, std::uint64_t offset) noexcept {
  arena.hand_over_if(offset, kSession, static_cast<int>(ticket & kPlaceMask));
}

// Cells

std::uint64_t Commons::take_units(std::uint32_t units) {
  for (std::uint64_t word = 0; word < kUnits / 64; ++word) {
    std::uint64_t used = word < header().words ? bitmap()[word].load() : 0;
    for (std::uint64_t at = 0; at + units <= 64; ++at) {
      if (used & run(units, at)) continue;
      if (word >= header().words) {
        os::make_pages(roster_memory_, kBitmapAt + word * 8, 8);
        header().words = static_cast<std::uint32_t>(word + 1);
      }
      return word * 64 + at;
    }
  }
  base::throw_os_error(ENOMEM,
                       "procession: a new lock or queue (the session's memory for them is full)");
}

// After somebody was killed while the mutex was held.
void Commons::repair_cells() {
  Header& head = header();
  if (head.making_units == 0) return;
  std::uint64_t mask = run(head.making_units, head.making_at % 64);
  bitmap()[head.making_at / 64].fetch_and(~mask);
  head.making_units = 0;
}

std::shared_ptr<Cell> Commons::make_cell(CellKind kind, std::size_t size) {
  Ticket mine = ticket();
  auto units =
      static_cast<std::uint32_t>((sizeof(CellHeader) + size + kUnitBytes - 1) / kUnitBytes);
  PROCESSION_CHECK(units <= kMostUnits);
  std::lock_guard lock(mutex_);
  settle_drops();
  Header& head = header();
  os::RobustLock cells(head.cells_mutex);
  if (cells.owner_died) repair_cells();
  std::uint64_t unit = take_units(units);
  std::uint64_t offset = offset_of(unit);
  os::make_pages(roster_memory_, offset, units * kUnitBytes);
  CellHeader& cell = cell_at(offset);
  auto made = std::make_shared<Cell>(*this, cell, offset);
  cells_[offset] = made;
  head.making_at = unit;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  head.making_units = units;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  bitmap()[unit / 64].fetch_or(run(units, unit % 64));
  std::memset(static_cast<void*>(&cell), 0, units * kUnitBytes);
  cell.generation = ++head.generation;
  cell.units = units;
  cell.mutex.init();
  cell.references[(mine & kPlaceMask) / 64].store(std::uint64_t{1} << mine % 64);
  cell.kind.store(static_cast<std::uint32_t>(kind), std::memory_order_release);
  head.making_units = 0;
  return made;
}

std::shared_ptr<Cell> Commons::find_cell(CellName name, CellKind kind, bool arrives) {
  if (name.session != session_) {
    throw std::runtime_error(
        "a lock, queue or the like came from another session: it can only go to processes that its "
        "own process, or one that this one was started by, has started with procession");
  }
  Ticket mine = ticket();
  std::shared_ptr<Cell> found;
  std::lock_guard lock(mutex_);
  settle_drops();
  os::RobustLock cells(header().cells_mutex);
  if (cells.owner_died) repair_cells();
  std::uint64_t unit = (name.offset - kUnitsAt) / kUnitBytes;
  bool is_there = name.offset >= kUnitsAt && offset_of(unit) == name.offset &&
                  unit < std::uint64_t{header().words} * 64 &&
                  (bitmap()[unit / 64] >> unit % 64 & 1) != 0;
  if (!is_there || cell_at(name.offset).generation != name.generation ||
      cell_at(name.offset).kind != static_cast<std::uint32_t>(kind)) {
    throw std::runtime_error(
        "a lock, queue or the like doesn't exist any more: all processes that had it have let go "
        "of "
        "it, or ended, before it arrived here");
  }
  std::weak_ptr<Cell>& known = cells_[name.offset];
  found = known.lock();
  CellHeader& cell = cell_at(name.offset);
  if (!found) {
    found = std::make_shared<Cell>(*this, cell, name.offset);
    known = found;
    cell.references[(mine & kPlaceMask) / 64].fetch_or(std::uint64_t{1} << mine % 64);
  }
  bool was_travelling = cell.travelling != 0 && cell.travelling != CellHeader::kForEver;
  if (arrives && was_travelling && --cell.travelling == 0) cell.references[0].fetch_and(~1ULL);
  return found;
}

Cell::~Cell() { commons_.drop(*this); }

CellName Cell::name() const noexcept { return {commons_.session_, offset_, header_.generation}; }

void Cell::keep() noexcept { commons_.keep(header_, CellHeader::kForEver); }

void Cell::keep_until_found() noexcept { commons_.keep(header_, 1); }

void Commons::keep(CellHeader& cell, std::uint32_t travelling) noexcept {
  os::RobustLock cells(header().cells_mutex);
  if (cells.owner_died) repair_cells();
  if (cell.travelling < CellHeader::kForEver - travelling) {
    cell.travelling += travelling;
  } else {
    cell.travelling = CellHeader::kForEver;
  }
  cell.references[0].fetch_or(1);
}

void Commons::drop(Cell& cell) {
  std::lock_guard lock(mutex_);
  auto known = cells_.find(cell.offset());
  if (known == cells_.end() || !known->second.expired())
    return;  // it has been found anew meanwhile
  cells_.erase(known);
  undropped_.push_back(cell.offset());
  settle_drops();
}

// Whether all copies of a process refer to what it did as they were made.
bool Commons::copies_have_settled(Place& parent) {
  std::uint64_t forks = parent.forks.load();
  if (parent.settled_forks.load(std::memory_order_acquire) == forks) return true;
  bool none_is_left = &parent == &place(ticket_) && !copies_may_be_siblings && !os::has_children();
  std::chrono::steady_clock::duration since(now() - parent.forked_at.load());
  if (!none_is_left && since < kCopyGrace) return false;
  parent.settled_forks = forks;
  return true;
}

// Lets go of what this process has dropped, unless a copy of it that was just forked has yet to say
// that it refers to the same.
void Commons::settle_drops() {
  if (undropped_.empty()) return;
  if (!copies_have_settled(place(ticket_))) return;
  os::RobustLock cells(header().cells_mutex);
  if (cells.owner_died) repair_cells();
  for (std::uint64_t offset : undropped_) {
    if (!cells_.contains(offset)) {
      drop_reference(cell_at(offset), offset, ticket_ & kPlaceMask);
    }
  }
  undropped_.clear();
}

// Under the cells' mutex.
void Commons::drop_reference(CellHeader& cell, std::uint64_t offset, std::uint32_t index) {
  cell.references[index / 64].fetch_and(~(std::uint64_t{1} << index % 64));
  for (const auto& word : cell.references) {
    if (word.load(std::memory_order_relaxed) != 0) return;
  }
  free_cell(cell, offset);
}

void Commons::free_cell(CellHeader& cell, std::uint64_t offset) {
  std::uint32_t kind = cell.kind.load() & ~kEnding;
  cell.kind = kind | kEnding;
  if (kind < ends.size() && ends[kind]) {
    Arena* blocks = arena_if_any();
    if (!blocks) return;  // whoever buries somebody next will
    ends[kind](*blocks, cell);
  }
  cell.kind = 0;
  std::uint64_t unit = (offset - kUnitsAt) / kUnitBytes;
  bitmap()[unit / 64].fetch_and(~run(cell.units, unit % 64));
}

void Commons::on_end(CellKind kind, End end, Settle settle) {
  ends[static_cast<std::size_t>(kind)] = end;
  settles[static_cast<std::size_t>(kind)] = settle;
}

// Large data

// Under mutex_, with a ticket.
Arena& Commons::arena() {
  if (!arena_) {
    os::SharedMapping probe(arena_memory_);  // what can't be mapped is lost to nobody
    arena_.emplace(std::move(arena_memory_), static_cast<int>(ticket_ & kPlaceMask));
  }
  return *arena_;
}

// Null where there is no room to map it, as under a low RLIMIT_AS.
Arena* Commons::arena_if_any() noexcept {
  try {
    return &arena();
  } catch (const base::OsError&) {
    return nullptr;
  }
}

Block Commons::allocate(std::size_t size) {
  ticket();
  std::lock_guard lock(mutex_);
  try {
    return arena().allocate(size);
  } catch (const base::OsError&) {  // there may be what the dead have left
    bury_the_dead();
    return arena().allocate(size);
  }
}

std::span<std::byte> Commons::bytes(Block block) {
  ticket();
  std::lock_guard lock(mutex_);
  return arena().bytes(block);
}

void Commons::hand_over(Block block, int to) {
  ticket();
  std::lock_guard lock(mutex_);
  arena().hand_over(block, to);
}

bool Commons::is_sessions(Block block) {
  ticket();
  std::lock_guard lock(mutex_);
  return arena().is_held_by(block.offset, kSession);
}

void Commons::take_over(Block block) { hand_over(block, static_cast<int>(ticket() & kPlaceMask)); }

void Commons::release(std::uint64_t offset) noexcept {
  try {
    ticket();
    std::lock_guard lock(mutex_);
    arena().release(offset);
  } catch (const std::exception&) {  // it is gone already
  }
}

Commons::Usage Commons::usage() {
  sweep();
  ticket();
  std::lock_guard lock(mutex_);
  Usage usage;
  std::uint32_t places = header().places;
  for (std::uint32_t index = 1; index < places; ++index)
    usage.processes += place(index).ticket != 0;
  {
    os::RobustLock cells(header().cells_mutex);
    if (cells.owner_died) repair_cells();
    std::uint64_t end = std::uint64_t{header().words} * 64;
    for (std::uint64_t unit = 0; unit < end;) {
      bool used = bitmap()[unit / 64] >> unit % 64 & 1;
      usage.cells += used;
      unit += used ? std::max(1U, cell_at(offset_of(unit)).units) : 1;
    }
  }
  usage.arena = arena().usage();
  return usage;
}

// Forks

void Commons::before_clone() {
  copies_may_be_siblings = true;
  if (the_commons.load()) before_fork();
}

void Commons::after_clone(bool in_child) {
  if (the_commons.load()) in_child ? after_fork_in_child() : after_fork_in_parent();
}

void Commons::before_fork() {
  Commons& commons = *the_commons.load();
  commons.mutex_.lock();
  if (!commons.ticket_) return;
  commons.place(commons.ticket_).forked_at = now();
  // Copies take places, whoever it is that waits for their end.
  if (commons.place(commons.ticket_).forks.fetch_add(1) % kForksToSweep == 0)
    commons.bury_the_dead();
}

void Commons::after_fork_in_parent() { the_commons.load()->mutex_.unlock(); }

void Commons::after_fork_in_child() {
  Commons& commons = *the_commons.load();
  Ticket parent = commons.ticket_.exchange(0);
  commons.undropped_.clear();
  if (parent) {
    try {
      commons.take_place();
      if (commons.arena_) commons.arena_->rejoin(static_cast<int>(commons.ticket_ & kPlaceMask));
    } catch (const base::OsError&) {  // whoever uses it tries again, and is told
    }
    commons.place(parent).settled_forks.fetch_add(1);
  }
  commons.mutex_.unlock();
}

}  // namespace procession::shm
