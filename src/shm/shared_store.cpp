// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_store.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "base/check.hpp"

namespace procession::shm {

namespace {

constexpr std::uint32_t kFarBit = std::uint32_t{1} << 31;  // of a form: the value is elsewhere
constexpr std::size_t kTagBytes = 64;  // ahead of a long value in its block: the serial
constexpr std::uint64_t kLog = 64;     // the least

std::uint64_t round_up(std::uint64_t size, std::uint64_t to = 8) {
  return (size + to - 1) & ~(to - 1);
}

[[noreturn]] void corrupted() {
  throw std::runtime_error(
      "procession: the memory of a shared container is corrupted: some process has written where "
      "it shouldn't");
}

// Of a block: what tells it from those that were there before or will be later.
std::uint64_t new_serial(Commons& commons) {
  static std::atomic<std::uint32_t> count{0};
  return std::uint64_t{commons.ticket() & kTicketMask} << 32 | ++count;
}

}  // namespace

// How a value stands in the log. Its bytes follow, or a Far.
struct SharedStore::Stored {
  std::uint32_t form;
  std::uint32_t length;

  std::byte* bytes() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
};

struct SharedStore::Far {
  std::uint64_t offset;
  std::uint64_t size;
  std::uint64_t serial;
};

// A block that is about to be the store's, or to be no more.
struct SharedStore::Loose {
  std::uint64_t serial;
  std::atomic<std::uint64_t> offset;  // 0: none
};

struct SharedStore::Record {
  // Two of them, so that one store replaces the table.
  std::array<Loose, 2> tables;
  std::array<std::uint64_t, 2> sizes;
  std::atomic<std::uint32_t> current;
  Shape shape;
  Loose arriving;
  Loose leaving;
  std::uint32_t needs_repair;
};

namespace {

// The two ways to the arena: with its lock, and from under it.
struct ByCommons {
  Commons& commons;
  bool is_of_session(Block block) const { return commons.is_sessions(block); }
  std::byte* data(Block block) const { return commons.bytes(block).data(); }
  void take(Block block) const { commons.take_over(block); }
  void release(Block block) const { commons.release(block.offset); }
};

struct ByArena {
  Arena& arena;
  bool is_of_session(Block block) const {
    return arena.is_held_by(block.offset, Commons::kSession);
  }
  std::byte* data(Block block) const { return arena.bytes(block).data(); }
  void take(Block block) const { arena.hand_over(block, arena.party()); }
  void release(Block block) const { arena.release(block.offset); }
};

// Releases a block of the session's. Before it is released it is this process's, so that nobody needs
// to do it again if this one is killed here, and it loses its serial, by which it would be known.
template <class Way>
void drop(Way way, std::uint64_t offset, std::uint64_t serial) {
  try {
    Block block{offset, kTagBytes};
    auto& tag = *reinterpret_cast<std::atomic<std::uint64_t>*>(way.data(block));
    if (tag != serial || !way.is_of_session(block)) return;
    way.take(block);
    tag = 0;
    way.release(block);
  } catch (const std::runtime_error&) {  // there is no such block any more
  }
}

}  // namespace

// Values on their way in

SharedStore::Incoming::Incoming(Commons& commons, const SharedInput& input)
    : commons_(commons), input_(input) {
  PROCESSION_CHECK((input.form & kFarBit) == 0);
  for (base::BytesView piece : input.pieces) size_ += piece.size();
  if (size_ <= kMostInTable) return;
  Block block = commons.allocate(kTagBytes + size_);
  offset_ = block.offset;
  serial_ = new_serial(commons);
  std::span<std::byte> to = commons.bytes(block);
  *reinterpret_cast<std::atomic<std::uint64_t>*>(to.data()) = serial_;
  to = to.subspan(kTagBytes);
  for (base::BytesView piece : input.pieces) {
    copy(to.first(piece.size()), piece);
    to = to.subspan(piece.size());
  }
}

SharedStore::Incoming::Incoming(Incoming&& other) noexcept
    : commons_(other.commons_),
      input_(other.input_),
      size_(other.size_),
      offset_(std::exchange(other.offset_, 0)),
      serial_(other.serial_) {}

SharedStore::Incoming::~Incoming() {
  if (offset_) commons_.release(offset_);
}

std::uint64_t SharedStore::Incoming::room() const noexcept {
  return sizeof(Stored) + (size_ > kMostInTable ? sizeof(Far) : round_up(size_));
}

std::uint64_t SharedStore::write(Header& table, const Incoming& value) {
  std::uint64_t at = table.end;
  PROCESSION_CHECK(table.left() >= value.room());
  auto& to = *reinterpret_cast<Stored*>(table.byte(at));
  to.form = value.input_.form;
  if (value.size_ > kMostInTable) {
    to.form |= kFarBit;
    to.length = sizeof(Far);
    Far far{value.offset_, value.size_, value.serial_};
    std::memcpy(to.bytes(), &far, sizeof far);
  } else {
    to.length = static_cast<std::uint32_t>(value.size_);
    std::byte* next = to.bytes();
    for (base::BytesView piece : value.input_.pieces) {
      if (!piece.empty()) std::memcpy(next, piece.data(), piece.size());
      next += piece.size();
    }
  }
  table.end = at + value.room();
  return at;
}

// Reading

SharedStore::Stored& SharedStore::stored(Header& table, std::uint64_t at) {
  if (at % 8 != 0 || at < table.log_at || at + sizeof(Stored) > table.size) corrupted();
  auto& value = *reinterpret_cast<Stored*>(table.byte(at));
  if (value.length > table.size - at - sizeof(Stored)) corrupted();
  if ((value.form & kFarBit) && value.length != sizeof(Far)) corrupted();
  return value;
}

std::uint64_t SharedStore::room_of(Header& table, std::uint64_t at) {
  return sizeof(Stored) + round_up(stored(table, at).length);
}

std::uint64_t SharedStore::copy_value(Header& to, Header& from, std::uint64_t at) {
  std::uint64_t room = room_of(from, at);
  PROCESSION_CHECK(to.left() >= room);
  std::memcpy(to.byte(to.end), from.byte(at), room);
  return std::exchange(to.end, to.end + room);
}

base::BytesView SharedStore::bytes_of(Stored& value) {
  if (!(value.form & kFarBit)) return {value.bytes(), value.length};
  auto& far = *reinterpret_cast<Far*>(value.bytes());
  return commons().bytes({far.offset, kTagBytes + far.size}).subspan(kTagBytes);
}

void SharedStore::read(Header& table, std::uint64_t at, SharedValue& value) {
  Stored& from = stored(table, at);
  base::BytesView bytes = bytes_of(from);
  value.form = from.form & ~kFarBit;
  value.bytes.assign(bytes.begin(), bytes.end());
}

void SharedStore::read(Header& table, std::uint64_t at, SharedValues& values) {
  Stored& from = stored(table, at);
  base::BytesView bytes = bytes_of(from);
  values.bytes.insert(values.bytes.end(), bytes.begin(), bytes.end());
  values.items.push_back({from.form & ~kFarBit, values.bytes.size()});
}

std::atomic<std::uint64_t>& SharedStore::value_at(Header& table, std::uint64_t row,
                                                  std::uint64_t index) {
  std::uint64_t at = table.first_of(row) + (index + 1) * table.stride - sizeof(std::uint64_t);
  return *reinterpret_cast<std::atomic<std::uint64_t>*>(table.byte(at));
}

// Tables

const bool SharedStore::kRegistered = (Commons::on_end(CellKind::kStore, &end), true);

SharedStore::SharedStore(Shape shape)
    : cell_(Commons::instance().make_cell(CellKind::kStore, CellHeader::kRoomFor<Record>)) {
  record().shape = shape;
}

SharedStore::SharedStore(const CellName& name, Shape shape)
    : cell_(Commons::instance().find_cell(name, CellKind::kStore)) {
  if (record().shape != shape) {
    throw std::runtime_error("procession: a shared container's name is that of another kind");
  }
}

SharedStore::Record& SharedStore::record() const noexcept { return cell_->as<Record>(); }

SharedStore::Header& SharedStore::make_table(std::uint64_t capacity, std::uint64_t stride,
                                             std::uint64_t rows, std::uint64_t slots,
                                             std::uint64_t log_bytes) {
  std::uint64_t values_at = round_up(sizeof(Header) + slots * sizeof(std::uint32_t), 64);
  std::uint64_t log_at = values_at + rows * capacity * stride;
  std::uint64_t size = round_up(log_at + std::max(kLog, round_up(log_bytes)), Arena::kUnit);
  Block block = commons().allocate(size);
  std::byte* data = commons().bytes(block).data();
  std::memset(data, 0, log_at);
  auto& table = *reinterpret_cast<Header*>(data);
  table.offset = block.offset;
  table.size = size;
  table.capacity = capacity;
  table.stride = stride;
  table.values_at = values_at;
  table.log_at = table.end = log_at;
  table.slots = slots;
  table.serial = new_serial(commons());
  return table;
}

// Of this process, or of the session's: a table as it must be. Anybody may have written over it.
SharedStore::Header& SharedStore::checked_table(std::span<std::byte> bytes, std::uint64_t serial) {
  if (bytes.size() < sizeof(Header)) corrupted();
  auto& table = *reinterpret_cast<Header*>(bytes.data());
  std::uint64_t size = table.size;
  bool is_one = table.serial == serial && size == bytes.size() && table.log_at <= size &&
                table.values_at % 8 == 0 && table.values_at <= table.log_at && table.stride >= 8 &&
                table.stride <= 64 && table.stride % 8 == 0 && table.capacity <= size &&
                table.values_at + table.capacity * table.stride <= table.log_at &&
                table.slots <= (table.values_at - sizeof(Header)) / sizeof(std::uint32_t) &&
                table.count() <= table.capacity &&
                (table.row() == 0 || table.first_of(2) <= table.log_at);
  if (!is_one) corrupted();
  return table;
}

void SharedStore::begin_with(Header& table) {
  Record& store = record();
  store.sizes[0] = table.size;
  store.tables[0].serial = table.serial;
  store.tables[0].offset = table.offset;
  commons().hand_over({table.offset, table.size}, Commons::kSession);
}

void SharedStore::forget_table(Header& table) noexcept { commons().release(table.offset); }

SharedStore::Header& SharedStore::map(const Record& store) {
  std::uint32_t current = store.current.load(std::memory_order_acquire) & 1;
  const Loose& loose = store.tables[current];
  std::uint64_t offset = loose.offset.load(std::memory_order_relaxed);
  if (!mapped_.table || mapped_.offset != offset || mapped_.serial != loose.serial) {
    auto bytes = commons().bytes({offset, store.sizes[current]});
    mapped_ = {offset, loose.serial, &checked_table(bytes, loose.serial)};
  }
  Header& table = *mapped_.table;
  if (table.count() > table.capacity || table.end > table.size) corrupted();
  return table;
}

const SharedStore::Far* SharedStore::far_of(Header& table, std::uint64_t at) {
  Stored& value = stored(table, at);
  return value.form & kFarBit ? reinterpret_cast<const Far*>(value.bytes()) : nullptr;
}

template <class See>
void SharedStore::each_far(Header& table, See see) {
  std::uint64_t count = table.count();
  std::uint64_t row = table.row();
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t at = value_at(table, row, i).load(std::memory_order_relaxed);
    if (at == 0) continue;
    if (const Far* far = far_of(table, at)) see(*far);
  }
}

// A table that isn't the current one, with those of its long values that `kept` doesn't have. May be
// begun by one process and ended by another.
template <class Way>
void SharedStore::drop_table(Way way, Loose& loose, std::uint64_t size, Header* kept) {
  std::uint64_t offset = loose.offset;
  if (offset == 0) return;
  try {
    std::byte* data = way.data({offset, size});
    if (*reinterpret_cast<std::uint64_t*>(data) == loose.serial &&
        way.is_of_session({offset, size})) {
      Header& table = checked_table({data, size}, loose.serial);
      std::unordered_set<std::uint64_t> in_kept;
      bool has_looked = false;
      each_far(table, [&](const Far& far) {
        if (kept && !std::exchange(has_looked, true)) {
          each_far(*kept, [&](const Far& other) { in_kept.insert(other.serial); });
        }
        if (!in_kept.contains(far.serial)) drop(way, far.offset, far.serial);
      });
      drop(way, offset, loose.serial);
    }
  } catch (const std::runtime_error&) {  // whoever made it never showed it, or it is gone already
  }
  loose.offset = 0;
}

SharedStore::Header& SharedStore::replace_table(Access& access, Header& table,
                                                std::span<Incoming> arriving) {
  Record& store = access.record;
  std::uint32_t other = 1 - (store.current & 1);
  store.needs_repair = 1;  // until it is done, for whoever comes next
  store.sizes[other] = table.size;
  store.tables[other].serial = table.serial;
  store.tables[other].offset = table.offset;
  // In this order: of a table that is not yet the session's nobody looks for values.
  commons().hand_over({table.offset, table.size}, Commons::kSession);
  for (Incoming& value : arriving) {
    if (value.offset_) commons().hand_over({value.offset_, kTagBytes}, Commons::kSession);
  }
  store.current.store(other, std::memory_order_release);
  for (Incoming& value : arriving) value.offset_ = 0;
  access.table = &map(store);
  drop_table(ByCommons{commons()}, store.tables[1 - other], store.sizes[1 - other], access.table);
  store.needs_repair = 0;
  return *access.table;
}

// Changes of one value

void SharedStore::begin_publishing(Record& store, Header& table, std::uint64_t old,
                                   Incoming* arriving) {
  const Far* leaving = old ? far_of(table, old) : nullptr;
  if (arriving && arriving->offset_) {
    store.arriving.serial = arriving->serial_;
    store.arriving.offset = arriving->offset_;
    commons().hand_over({arriving->offset_, kTagBytes}, Commons::kSession);
  }
  if (!leaving) return;
  store.leaving.serial = leaving->serial;
  store.leaving.offset = leaving->offset;
}

void SharedStore::end_publishing(Record& store, Incoming* arriving) {
  if (arriving && arriving->offset_) {
    store.arriving.offset = 0;
    arriving->offset_ = 0;
  }
  if (std::uint64_t offset = store.leaving.offset.load(std::memory_order_relaxed)) {
    drop(ByCommons{commons()}, offset, store.leaving.serial);
    store.leaving.offset = 0;
  }
}

// After a death

SharedStore::Access::Access(SharedStore& store)
    : record(store.record()), lock_(store.cell_->header().mutex) {
  if (lock_.owner_died) record.needs_repair = 1;
  if (record.needs_repair) store.repair(record);
  table = &store.map(record);
}

void SharedStore::repair(Record& store) {
  std::uint32_t other = 1 - (store.current & 1);
  Header& table = map(store);
  drop_table(ByCommons{commons()}, store.tables[other], store.sizes[other], &table);
  settle(store.arriving, table);
  settle(store.leaving, table);
  rebuild(table);
  store.needs_repair = 0;
}

// A block that was about to be shown or hidden: it goes unless it is shown.
void SharedStore::settle(Loose& loose, Header& table) {
  std::uint64_t offset = loose.offset;
  if (offset == 0) return;
  bool is_shown = false;
  each_far(table, [&](const Far& far) { is_shown |= far.serial == loose.serial; });
  if (!is_shown) drop(ByCommons{commons()}, offset, loose.serial);
  loose.offset = 0;
}

void SharedStore::end(Arena& arena, CellHeader& header) {
  auto& store = header.content<Record>();
  ByArena way{arena};
  for (Loose* loose : {&store.arriving, &store.leaving}) {
    if (loose->offset) drop(way, loose->offset, loose->serial);
  }
  for (std::size_t i = 0; i < store.tables.size(); ++i) {
    drop_table(way, store.tables[i], store.sizes[i], nullptr);
  }
}

}  // namespace procession::shm
