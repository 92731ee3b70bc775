// SPDX-License-Identifier: Apache-2.0
#include "shm/arena.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

#include "base/check.hpp"
#include "base/error.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace procession::shm {

namespace {

constexpr std::uint64_t kMagic = 0x61'72'65'6e'61'00'00'01;  // "arena", version 1
constexpr std::uint64_t kSlotsAt = 4096;                     // offset of the first Slot
constexpr std::uint64_t kSlotsPerStep = 4096 / sizeof(Slot);
constexpr std::uint64_t kSmallestSlot = std::uint64_t{1} << 20;
constexpr std::uint64_t kLargestSlot = std::uint64_t{64} << 20;
constexpr std::uint64_t kSlots = 16384;  // of a size between

// Slot::owner
constexpr std::uint32_t kReady = std::uint32_t{1} << 31;
constexpr std::uint32_t kReserved = kReady - 1;  // of what describes the others

// Word
constexpr std::uint64_t kStateMask = 3;
constexpr std::uint64_t kLive = 1;
constexpr std::uint64_t kReleased = 2;
constexpr std::uint64_t kWarmBit = 4;
constexpr int kHolderShift = 3;
constexpr int kSizeShift = 13;
constexpr std::uint64_t kHolderMask = std::uint64_t{Arena::kParties - 1} << kHolderShift;
static_assert(kHolderMask >> kSizeShift == 0);

std::uint64_t state_of(std::uint64_t word) noexcept { return word & kStateMask; }
std::uint64_t size_of(std::uint64_t word) noexcept { return word >> kSizeShift; }
std::uint64_t holder_bits(int party) noexcept {
  return static_cast<std::uint64_t>(party) << kHolderShift;
}
std::uint32_t owner_bits(int party) noexcept { return static_cast<std::uint32_t>(party) + 1; }

std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) noexcept { return (a + b - 1) / b; }
std::uint64_t units_for(std::uint64_t size) noexcept {
  return std::max<std::uint64_t>(1, divide_up(size, Arena::kUnit));
}

int checked_party(int party) {
  if (party < 0 || party >= Arena::kParties) {
    throw std::invalid_argument("procession: no party has the number " + std::to_string(party));
  }
  return party;
}

[[noreturn]] void no_block(std::uint64_t offset) {
  throw std::runtime_error("procession: no block begins at offset " + std::to_string(offset));
}

[[noreturn]] void no_room(std::uint64_t size) {
  throw base::OsError(
      ENOMEM, "procession: no room in shared memory for " + std::to_string(size) + " bytes");
}

bool says_full(const base::OsError& error) noexcept {
  return error.error_number() == ENOSPC || error.error_number() == ENOMEM;
}

}  // namespace

// Making and joining

Arena Arena::create(std::uint64_t capacity, const char* label) {
  capacity = std::bit_floor(std::min(capacity, os::sensible_mapping_limit()));
  while (true) {
    try {
      return create_in(os::create_sparse_memfd(label, std::max(capacity, kSmallest)));
    } catch (const base::OsError&) {
      if (capacity <= kSmallest) throw;
    }
    capacity /= 2;
  }
}

Arena Arena::create_in(os::Fd memory) {
  std::uint64_t capacity = os::file_size(memory);
  if (capacity < kSmallest || !std::has_single_bit(capacity)) {
    throw std::invalid_argument("procession: an arena has a power of two of bytes, 4 MiB or more");
  }
  os::SharedMapping mapping(memory);
  os::make_pages(memory, 0, kSlotsAt);
  auto& header = *reinterpret_cast<Header*>(mapping.bytes().data());
  header.magic = kMagic;
  header.capacity = capacity;
  header.slot_size = std::clamp(capacity / kSlots, kSmallestSlot, kLargestSlot);

  Arena arena(std::move(mapping), 0);
  arena.memory_ = std::move(memory);
  std::uint64_t end = arena.words_at() + capacity / kUnit * sizeof(Word);
  std::uint64_t reserved = divide_up(end, arena.slot_size_);
  arena.see_slots(reserved);
  for (std::uint64_t i = 0; i < reserved; ++i) arena.slot(i).owner = kReserved;
  return arena;
}

Arena::Arena(os::Fd memory, int party) : Arena(os::SharedMapping(memory), party) {
  memory_ = std::move(memory);
}

Arena::Arena(os::SharedMapping mapping, int party)
    : mapping_(std::move(mapping)), party_(checked_party(party)) {
  std::uint64_t size = mapping_.bytes().size();
  bool valid = size >= kSmallest && header().magic == kMagic && header().capacity == size &&
               std::has_single_bit(size) && std::has_single_bit(header().slot_size) &&
               header().slot_size >= kSmallestSlot && header().slot_size <= kLargestSlot;
  if (!valid) throw std::runtime_error("procession: the file is not an arena");
  capacity_ = size;
  slot_size_ = header().slot_size;
}

void Arena::rejoin(int party) {
  party_ = checked_party(party);
  own_.clear();
  free_.clear();
  by_count_.clear();
}

// Where things lie

Header& Arena::header() const noexcept {
  return *reinterpret_cast<Header*>(mapping_.bytes().data());
}

Slot& Arena::slot(std::uint64_t index) const noexcept {
  return reinterpret_cast<Slot*>(mapping_.bytes().data() + kSlotsAt)[index];
}

Word& Arena::word(std::uint64_t unit) const noexcept {
  return reinterpret_cast<Word*>(mapping_.bytes().data() + words_at())[unit];
}

std::uint64_t Arena::words_at() const noexcept {
  return kSlotsAt + divide_up(slots(), kSlotsPerStep) * kSlotsPerStep * sizeof(Slot);
}

// Blocks: all of this may run in several threads and processes at once.

Word& Arena::live_word(std::uint64_t offset) const {
  std::uint64_t index = offset / slot_size_;
  if (offset % kUnit != 0 || index >= std::min(slots(), header().seen.load())) no_block(offset);
  if (!(slot(index).owner.load(std::memory_order_acquire) & kReady)) no_block(offset);
  Word& found = word(offset / kUnit);
  std::uint64_t value = found.load(std::memory_order_acquire);
  if (state_of(value) != kLive || size_of(value) > capacity_ - offset) no_block(offset);
  return found;
}

Block Arena::find(std::uint64_t offset) const {
  return {offset, size_of(live_word(offset).load(std::memory_order_relaxed))};
}

std::span<std::byte> Arena::bytes(Block block) const {
  if (find(block.offset).size < block.size) no_block(block.offset);
  return mapping_.bytes().subspan(block.offset, block.size);
}

bool Arena::is_held_by(std::uint64_t offset, int party) const noexcept {
  try {
    return (live_word(offset) & kHolderMask) == holder_bits(party);
  } catch (const std::runtime_error&) {
    return false;
  }
}

void Arena::hand_over(Block block, int to) {
  std::uint64_t holder = holder_bits(checked_party(to));
  Word& at = live_word(block.offset);
  std::uint64_t value = at.load(std::memory_order_relaxed);
  do {
    if (state_of(value) != kLive) no_block(block.offset);
  } while (!at.compare_exchange_weak(value, (value & ~kHolderMask) | holder));
}

bool Arena::hand_over_if(std::uint64_t offset, int from, int to) noexcept {
  if (offset == 0) return false;
  try {
    Word& at = live_word(offset);
    std::uint64_t value = at.load(std::memory_order_relaxed);
    while (state_of(value) == kLive && (value & kHolderMask) == holder_bits(from)) {
      if (at.compare_exchange_weak(value, (value & ~kHolderMask) | holder_bits(to))) return true;
    }
  } catch (const std::runtime_error&) {  // there is none
  }
  return false;
}

void Arena::release(std::uint64_t offset) {
  Word& at = live_word(offset);
  std::uint64_t value = at.load(std::memory_order_relaxed);
  do {
    if (state_of(value) != kLive) no_block(offset);
    // SYNC POINT with collect_block: what was read from the block was read before it is written.
  } while (!at.compare_exchange_weak(value, (value & ~kStateMask) | kReleased,
                                     std::memory_order_release, std::memory_order_relaxed));
  // Killed here, the note is missing: reclaim makes them all.
  note_release(offset / kUnit);
}

void Arena::drop(std::uint64_t& offset, int holder) noexcept {
  std::uint64_t taken = offset;
  bool is_there = hand_over_if(taken, holder, party_);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  offset = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  try {
    if (is_there) release(taken);
  } catch (const std::runtime_error&) {  // some process has written where it shouldn't
  }
}

void Arena::note_release(std::uint64_t unit) const noexcept {
  std::uint64_t in_slot = unit % units_per_slot();
  slot(unit / units_per_slot()).released.fetch_or(std::uint64_t{1} << in_slot / units_per_note());
}

// Allocation: from here on, the one thread that has the caller's lock.

Block Arena::allocate(std::size_t size) {
  if (size > capacity_) no_room(size);
  collect();
  for (bool again = false;; again = true) {
    try {
      Place place = take(units_for(size));
      make_warm(place);
      std::uint64_t value =
          kLive | kWarmBit | holder_bits(party_) | (static_cast<std::uint64_t>(size) << kSizeShift);
      word(place.first).store(value, std::memory_order_release);
      return {place.first * kUnit, size};
    } catch (const base::OsError& error) {
      if (!says_full(error)) throw;
      trim(0);
      if (again) throw base::OsError(ENOMEM, error.attempted());
    }
  }
}

// The smallest free row that is large enough; the first of those.
Arena::Place Arena::take(std::uint64_t count) {
  auto found = by_count_.lower_bound({count, 0});
  if (found == by_count_.end()) {
    claim(divide_up(count, units_per_slot()));
    found = by_count_.lower_bound({count, 0});
    PROCESSION_CHECK(found != by_count_.end());
  }
  Place place{found->second, count};
  remove_free(place);
  return place;
}

// Or the place is free again, and the pages that were made stay with it, warm.
void Arena::make_warm(Place place) {
  constexpr std::uint64_t kPiece = (std::uint64_t{1} << 20) / kUnit;
  std::uint64_t end = place.first + place.count;
  for (std::uint64_t unit = place.first; unit < end;) {
    auto is_warm = [&](std::uint64_t at) { return word(at).load(std::memory_order_relaxed) != 0; };
    if (is_warm(unit)) {
      ++unit;
      continue;
    }
    std::uint64_t count = 1;
    while (unit + count < end && count < kPiece && !is_warm(unit + count)) ++count;
    try {
      os::make_pages(memory_, unit * kUnit, count * kUnit);
    } catch (...) {
      add_free(place);
      throw;
    }
    for (; count > 0; --count) word(unit++).store(kWarmBit, std::memory_order_relaxed);
  }
}

// Words first: one that says warm where there is no page would be a SIGBUS for somebody later.
void Arena::cool(Place place) {
  for (std::uint64_t i = 0; i < place.count; ++i) {
    word(place.first + i).store(0, std::memory_order_release);
  }
  os::drop_pages(memory_, place.first * kUnit, place.count * kUnit);
}

void Arena::collect() {
  std::uint64_t step = units_per_note();
  for (std::uint64_t index : own_) {
    std::atomic<std::uint64_t>& released = slot(index).released;
    if (released.load(std::memory_order_relaxed) == 0) continue;
    for (std::uint64_t bits = released.exchange(0); bits != 0; bits &= bits - 1) {
      std::uint64_t first = index * units_per_slot() + std::countr_zero(bits) * step;
      for (std::uint64_t unit = first; unit < first + step; ++unit) collect_block(unit);
    }
  }
}

void Arena::collect_block(std::uint64_t unit) {
  std::uint64_t value = word(unit).load(std::memory_order_acquire);  // SYNC POINT with release
  if (state_of(value) != kReleased) return;
  Place place{unit, units_for(size_of(value))};
  word(unit).store(kWarmBit, std::memory_order_relaxed);
  // Somebody wrote where he has no business? Then the room is lost, and nothing else.
  if (is_mine(place)) add_free(place);
}

bool Arena::is_mine(Place place) const noexcept {
  if (place.count > capacity_ / kUnit - place.first) return false;
  std::uint64_t last = (place.first + place.count - 1) / units_per_slot();
  for (std::uint64_t index = place.first / units_per_slot(); index <= last; ++index) {
    if (!own_.contains(index)) return false;
  }
  auto after = free_.lower_bound(place.first);
  if (after != free_.end() && after->first < place.first + place.count) return false;
  return after == free_.begin() ||
         std::prev(after)->first + std::prev(after)->second <= place.first;
}

void Arena::add_free(Place place) {
  auto after = free_.lower_bound(place.first);
  if (after != free_.end() && after->first == place.first + place.count) {
    place.count += after->second;
    by_count_.erase({after->second, after->first});
    after = free_.erase(after);
  }
  if (after != free_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second == place.first) {
      by_count_.erase({before->second, before->first});
      place = {before->first, before->second + place.count};
      free_.erase(before);
    }
  }
  free_.emplace(place.first, place.count);
  by_count_.emplace(place.count, place.first);
}

// A part of one free row.
void Arena::remove_free(Place place) {
  auto row = std::prev(free_.upper_bound(place.first));
  auto [first, count] = *row;
  PROCESSION_CHECK(first <= place.first && place.first + place.count <= first + count);
  by_count_.erase({count, first});
  free_.erase(row);
  std::uint64_t behind = place.first + place.count;
  if (first < place.first) add_free({first, place.first - first});
  if (behind < first + count) add_free({behind, first + count - behind});
}

// Slots

// Makes that many slots, side by side, our own: a first fit among those that nobody owns.
void Arena::claim(std::uint64_t count) {
  std::uint64_t run = 0;
  for (std::uint64_t i = 0; i < slots(); ++i) {
    see_slots(i + 1);
    run = slot(i).owner.load(std::memory_order_relaxed) == 0 ? run + 1 : 0;
    if (run < count) continue;
    if (try_claim(i + 1 - count, count)) return;
    run = 0;  // somebody was faster
  }
  no_room(count * slot_size_);
}

bool Arena::try_claim(std::uint64_t first, std::uint64_t count) {
  auto let_go = [&](std::uint64_t end) {
    for (std::uint64_t i = first; i < end; ++i) slot(i).owner = 0;
  };
  for (std::uint64_t i = first; i < first + count; ++i) {
    std::uint32_t nobody = 0;
    if (slot(i).owner.compare_exchange_strong(nobody, owner_bits(party_))) continue;
    let_go(i);
    return false;
  }
  std::uint64_t units = units_per_slot();
  try {
    os::make_pages(memory_, words_at() + first * units * sizeof(Word),
                   count * units * sizeof(Word));
  } catch (...) {
    let_go(first + count);
    throw;
  }
  for (std::uint64_t i = first; i < first + count; ++i) {
    slot(i).owner.store(owner_bits(party_) | kReady, std::memory_order_release);
    own_.insert(i);
  }
  add_free({first * units, count * units});
  return true;
}

// Makes the first slots' records exist, those up to `end`.
void Arena::see_slots(std::uint64_t end) {
  std::uint64_t seen = header().seen;
  if (end <= seen) return;
  std::uint64_t to = std::min(slots(), divide_up(end, kSlotsPerStep) * kSlotsPerStep);
  os::make_pages(memory_, kSlotsAt + seen * sizeof(Slot), (to - seen) * sizeof(Slot));
  while (seen < to && !header().seen.compare_exchange_weak(seen, to)) {
  }
}

void Arena::reclaim(int dead_party) {
  if (checked_party(dead_party) == party_) {
    throw std::invalid_argument("procession: a party reclaims what others had");
  }
  std::uint64_t seen = std::min(slots(), header().seen.load());
  for (std::uint64_t index = 0; index < seen; ++index) {
    if (!(slot(index).owner.load(std::memory_order_acquire) & kReady)) continue;
    std::uint64_t first = index * units_per_slot();
    for (std::uint64_t unit = first; unit < first + units_per_slot(); ++unit) {
      std::uint64_t value = word(unit).load(std::memory_order_relaxed);
      while (state_of(value) == kLive && (value & kHolderMask) == holder_bits(dead_party) &&
             !word(unit).compare_exchange_weak(value, (value & ~kStateMask) | kReleased)) {
      }
    }
    slot(index).released = ~std::uint64_t{0};  // whoever released last may be the dead one
  }
  std::uint64_t reached = 0;
  for (std::uint64_t index = 0; index < seen; ++index) {
    std::uint32_t owner = slot(index).owner;
    // What it never got ready holds no block.
    if (owner == owner_bits(dead_party)) slot(index).owner = 0;
    if (owner == (owner_bits(dead_party) | kReady)) reached = adopt(index, reached);
  }
  collect();
}

// Takes over a slot of a dead party. Blocks that are live or not collected reach up to `reached`
// from slots before; returns how far those do that begin up to the end of this one.
std::uint64_t Arena::adopt(std::uint64_t index, std::uint64_t reached) {
  std::uint64_t unit = index * units_per_slot();
  std::uint64_t end = unit + units_per_slot();
  unit = std::max(unit, reached);
  slot(index).owner = owner_bits(party_) | kReady;
  own_.insert(index);
  while (unit < end) {
    std::uint64_t value = word(unit).load(std::memory_order_relaxed);
    if (state_of(value) != 0) {
      unit += units_for(size_of(value));
      continue;
    }
    std::uint64_t count = 1;
    while (unit + count < end && state_of(word(unit + count)) == 0) ++count;
    add_free({unit, count});
    unit += count;
  }
  return unit;
}

void Arena::trim(std::uint64_t keep) {
  collect();
  std::uint64_t warm = 0;
  for (auto [first, count] : free_) warm += count_warm({first, count});
  keep /= kUnit;
  for (auto row = free_.rbegin(); row != free_.rend() && warm > keep; ++row) {
    auto [first, count] = *row;
    std::uint64_t from = first + count;
    while (from > first && warm > keep) warm -= count_warm({--from, 1});
    cool({from, first + count - from});
  }
  give_back_slots();
}

void Arena::give_back_slots() {
  std::uint64_t units = units_per_slot();
  for (auto index = own_.begin(); index != own_.end();) {
    Place all{*index * units, units};
    auto row = free_.upper_bound(all.first);
    bool is_free = row != free_.begin() &&
                   std::prev(row)->first + std::prev(row)->second >= all.first + all.count;
    if (!is_free || count_warm(all) > 0) {
      ++index;
      continue;
    }
    remove_free(all);
    slot(*index).owner.store(0, std::memory_order_release);
    index = own_.erase(index);
  }
}

std::uint64_t Arena::count_warm(Place place) const noexcept {
  std::uint64_t warm = 0;
  for (std::uint64_t i = 0; i < place.count; ++i) {
    warm += (word(place.first + i).load(std::memory_order_relaxed) & kWarmBit) != 0;
  }
  return warm;
}

Arena::Usage Arena::usage() const {
  std::uint64_t used = 0;
  std::uint64_t warm = 0;
  std::uint64_t seen = std::min(slots(), header().seen.load());
  for (std::uint64_t index = 0; index < seen; ++index) {
    if (!(slot(index).owner.load(std::memory_order_acquire) & kReady)) continue;
    Place all{index * units_per_slot(), units_per_slot()};
    warm += count_warm(all);
    for (std::uint64_t i = 0; i < all.count; ++i) {
      std::uint64_t value = word(all.first + i).load(std::memory_order_relaxed);
      if (state_of(value) == kLive) used += units_for(size_of(value));
    }
  }
  return {used * kUnit, (warm - std::min(warm, used)) * kUnit};
}

// Copying

void copy(std::span<std::byte> to, std::span<const std::byte> from) {
  PROCESSION_CHECK(to.size() >= from.size());
#if defined(__SSE2__)
  constexpr std::size_t kLarge = std::size_t{64} << 10;
  constexpr std::size_t kLine = 64;
  if (from.size() >= kLarge) {
    std::size_t head = -reinterpret_cast<std::uintptr_t>(to.data()) % kLine;
    std::memcpy(to.data(), from.data(), head);
    std::size_t at = head;
    for (; from.size() - at >= kLine; at += kLine) {
      auto* source = reinterpret_cast<const __m128i*>(from.data() + at);
      auto* target = reinterpret_cast<__m128i*>(to.data() + at);
      __m128i a = _mm_loadu_si128(source);
      __m128i b = _mm_loadu_si128(source + 1);
      __m128i c = _mm_loadu_si128(source + 2);
      __m128i d = _mm_loadu_si128(source + 3);
      _mm_stream_si128(target, a);
      _mm_stream_si128(target + 1, b);
      _mm_stream_si128(target + 2, c);
      _mm_stream_si128(target + 3, d);
    }
    _mm_sfence();  // before anybody is told of it
    std::memcpy(to.data() + at, from.data() + at, from.size() - at);
    return;
  }
#endif
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

}  // namespace procession::shm
