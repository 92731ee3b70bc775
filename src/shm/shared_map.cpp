// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_map.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

#include "base/error.hpp"

namespace procession::shm {

namespace {

constexpr std::uint64_t kFewest = 32;  // entries that a table has room for
constexpr std::uint64_t kSparse = 16;  // of so many entries one is in use: the table is too large

// The same in all processes.
std::uint64_t hash_of(base::BytesView bytes) {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;
  std::uint64_t hash = bytes.size() * kOdd;
  auto mix = [&hash](std::uint64_t word) {
    hash = (hash ^ word) * kOdd;
    hash ^= hash >> 29;
  };
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    mix(word);
  }
  std::uint64_t rest = 0;
  if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
  mix(rest);
  mix(hash >> 32);
  return hash;
}

std::uint64_t round_up(std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; }

}  // namespace

// Entries are in order of arrival. One whose value_at is 0 was removed.
struct SharedMap::Entry {
  std::uint64_t hash;
  std::uint64_t key_at;
  std::atomic<std::uint64_t> value_at;
};

struct SharedMap::StoredKey {
  std::uint32_t length;
  std::uint32_t shown_length;

  std::uint64_t room() const noexcept {
    return sizeof(StoredKey) + round_up(std::uint64_t{length} + shown_length);
  }
  std::byte* data() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  base::BytesView bytes() noexcept { return {data(), length}; }
  base::BytesView shown() noexcept { return {data() + length, shown_length}; }
};

SharedMap::SharedMap() : SharedStore(Shape::kMap) { begin_with(new_table(0, 0)); }
SharedMap::SharedMap(const CellName& name) : SharedStore(name, Shape::kMap) {}

SharedMap::Entry& SharedMap::entry(Header& table, std::uint64_t index) {
  return *reinterpret_cast<Entry*>(table.byte(table.values_at + index * sizeof(Entry)));
}

SharedMap::StoredKey& SharedMap::stored_key(Header& table, std::uint64_t at) {
  if (at % 8 != 0 || at < table.log_at || at + sizeof(StoredKey) > table.size) {
    throw std::runtime_error("procession: the memory of a shared dict is corrupted");
  }
  auto& key = *reinterpret_cast<StoredKey*>(table.byte(at));
  if (key.room() > table.size - at) {
    throw std::runtime_error("procession: the memory of a shared dict is corrupted");
  }
  return key;
}

// 1 + the index of an entry, or 0. One that is no entry's any more, or not yet, looks like another
// key's: a slot is only ever written again for the same key.
std::uint32_t* SharedMap::slots(Header& table) {
  return reinterpret_cast<std::uint32_t*>(table.byte(sizeof(Header)));
}

// Its entry, also of one that was removed; and its slot, or the one that is to be its.
std::optional<std::uint64_t> SharedMap::find(Header& table, std::uint64_t hash, base::BytesView key,
                                             std::uint32_t** slot) {
  std::uint64_t mask = table.slots - 1;
  std::uint64_t count = table.count();
  std::uint64_t at = hash & mask;
  for (std::uint64_t looks = 0; looks < table.slots; ++looks, at = (at + 1) & mask) {
    std::uint32_t& here = slots(table)[at];
    if (slot) *slot = &here;
    if (here == 0) return std::nullopt;
    std::uint64_t index = here - 1;
    if (index >= count) continue;
    Entry& found = entry(table, index);
    if (found.hash == hash && std::ranges::equal(stored_key(table, found.key_at).bytes(), key)) {
      return index;
    }
  }
  throw std::runtime_error("procession: the memory of a shared dict is corrupted");
}

bool SharedMap::get(base::BytesView key, SharedValue& value, Version* version) {
  std::uint64_t hash = hash_of(key);
  Access access(*this);
  Header& table = *access.table;
  auto index = find(table, hash, key);
  std::uint64_t at = index ? entry(table, *index).value_at.load() : 0;
  if (version) *version = at ? Version{table.serial, at} : Version{};
  if (at == 0) return false;
  read(table, at, value);
  return true;
}

bool SharedMap::contains(base::BytesView key) {
  std::uint64_t hash = hash_of(key);
  Access access(*this);
  auto index = find(*access.table, hash, key);
  return index && entry(*access.table, *index).value_at != 0;
}

std::uint64_t SharedMap::size() { return Access(*this).table->live; }

bool SharedMap::set(const Key& key, const SharedInput& input, const Version* expected) {
  Incoming value(commons(), input);
  std::uint64_t hash = hash_of(key.bytes);
  Access access(*this);
  Header* table = access.table;
  auto index = find(*table, hash, key.bytes);
  std::uint64_t old = index ? entry(*table, *index).value_at.load() : 0;
  if (expected && *expected != (old ? Version{table->serial, old} : Version{})) return false;
  if (old == 0) {
    insert(access, hash, key, value);
    return true;
  }
  if (table->left() < value.room()) {
    table = &make_room(access, value.room());
    index = find(*table, hash, key.bytes);
    old = entry(*table, *index).value_at;
  }
  std::uint64_t at = write(*table, value);
  auto& word = entry(*table, *index).value_at;
  publish_by(access, old, &value, [&] { word.store(at, std::memory_order_release); });
  return true;
}

void SharedMap::insert(Access& access, std::uint64_t hash, const Key& key, Incoming& value) {
  StoredKey stored{static_cast<std::uint32_t>(key.bytes.size()),
                   static_cast<std::uint32_t>(key.shown.size())};
  std::uint64_t room = stored.room() + value.room();
  Header* table = access.table;
  if (table->count() == table->capacity || table->left() < room) table = &make_room(access, room);
  std::uint32_t* slot = nullptr;
  find(*table, hash, key.bytes, &slot);
  std::uint64_t index = table->count();
  Entry& made = entry(*table, index);
  made.hash = hash;
  made.key_at = table->end;
  auto& at = *reinterpret_cast<StoredKey*>(table->byte(made.key_at));
  at = stored;
  std::ranges::copy(key.bytes, at.data());
  std::ranges::copy(key.shown, at.data() + key.bytes.size());
  table->end += stored.room();
  made.value_at = write(*table, value);
  publish_by(access, 0, &value,
             [&] { table->extent.store((index + 1) << 1, std::memory_order_release); });
  *slot = static_cast<std::uint32_t>(index + 1);
  table->last = index + 1;
  ++table->live;
}

bool SharedMap::take(base::BytesView key, SharedValue* value, const Version* expected) {
  std::uint64_t hash = hash_of(key);
  Access access(*this);
  Header& table = *access.table;
  auto index = find(table, hash, key);
  std::uint64_t at = index ? entry(table, *index).value_at.load() : 0;
  if (at == 0 || (expected && *expected != Version{table.serial, at})) return false;
  if (value) read(table, at, *value);
  remove(access, *index);
  return true;
}

bool SharedMap::take_last(SharedValue& key, SharedValue& value) {
  Access access(*this);
  Header& table = *access.table;
  std::uint64_t index = std::min(table.last, table.count());
  while (index > 0 && entry(table, index - 1).value_at == 0) --index;
  table.last = index;
  if (index == 0) return false;
  StoredKey& stored = stored_key(table, entry(table, index - 1).key_at);
  base::BytesView bytes = stored.shown_length ? stored.shown() : stored.bytes();
  key.form = stored.shown_length != 0;
  key.bytes.assign(bytes.begin(), bytes.end());
  read(table, entry(table, index - 1).value_at, value);
  remove(access, index - 1);
  return true;
}

void SharedMap::remove(Access& access, std::uint64_t index) {
  Header& table = *access.table;
  auto& word = entry(table, index).value_at;
  publish_by(access, word, nullptr, [&] { word.store(0, std::memory_order_release); });
  --table.live;
  if (table.capacity > kFewest * kSparse && table.live < table.capacity / kSparse) {
    try {
      make_room(access, 0);
    } catch (const base::OsError&) {  // then it stays as large as it is
    }
  }
}

void SharedMap::clear() {
  Access access(*this);
  replace_table(access, new_table(0, 0));
}

void SharedMap::snapshot(SharedValues* keys, SharedValues* values) {
  Access access(*this);
  Header& table = *access.table;
  for (std::uint64_t i = 0, count = table.count(); i < count; ++i) {
    Entry& each = entry(table, i);
    if (each.value_at == 0) continue;
    if (keys) {
      StoredKey& key = stored_key(table, each.key_at);
      base::BytesView bytes = key.shown_length ? key.shown() : key.bytes();
      keys->bytes.insert(keys->bytes.end(), bytes.begin(), bytes.end());
      keys->items.push_back({key.shown_length != 0, keys->bytes.size()});
    }
    if (values) read(table, each.value_at, *values);
  }
}

SharedMap::Header& SharedMap::new_table(std::uint64_t values, std::uint64_t log_bytes) {
  static_assert(sizeof(Entry) == 24 && offsetof(Entry, value_at) == 16);
  std::uint64_t capacity = std::max(kFewest, values * 2);
  if (capacity > UINT32_MAX / 4) {
    throw base::OsError(ENOMEM, "procession: a shared dict of more than 500 million keys");
  }
  return make_table(capacity, sizeof(Entry), 1, std::bit_ceil(capacity * 2), log_bytes);
}

// A table with room for one more key, and so many bytes in the log. What was removed is left out.
SharedMap::Header& SharedMap::make_room(Access& access, std::uint64_t room) {
  Header& from = *access.table;
  std::uint64_t values = 0;
  std::uint64_t bytes = room;
  std::uint64_t count = from.count();
  for (std::uint64_t i = 0; i < count; ++i) {
    Entry& each = entry(from, i);
    if (each.value_at == 0) continue;
    ++values;
    bytes += stored_key(from, each.key_at).room() + room_of(from, each.value_at);
  }
  Header& to = new_table(values + (room > 0), bytes * 2);
  std::uint64_t index = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    Entry& each = entry(from, i);
    if (each.value_at == 0) continue;
    StoredKey& key = stored_key(from, each.key_at);
    Entry& copied = entry(to, index++);
    copied.hash = each.hash;
    copied.key_at = to.end;
    std::memcpy(to.byte(to.end), static_cast<void*>(&key), key.room());
    to.end += key.room();
    copied.value_at = copy_value(to, from, each.value_at);
  }
  to.extent = index << 1;
  rebuild(to);
  return replace_table(access, to);
}

void SharedMap::rebuild(Header& table) {
  if (!std::has_single_bit(table.slots) || table.slots <= table.capacity) {
    throw std::runtime_error("procession: the memory of a shared dict is corrupted");
  }
  std::memset(slots(table), 0, table.slots * sizeof(std::uint32_t));
  std::uint64_t count = table.count();
  table.live = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    Entry& each = entry(table, i);
    if (each.value_at == 0) continue;
    std::uint64_t at = each.hash & (table.slots - 1);
    while (slots(table)[at] != 0) at = (at + 1) & (table.slots - 1);
    slots(table)[at] = static_cast<std::uint32_t>(i + 1);
    ++table.live;
  }
  table.last = count;
}

}  // namespace procession::shm
