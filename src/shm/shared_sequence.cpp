// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_sequence.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <vector>

#include "base/error.hpp"

namespace procession::shm {

namespace {

constexpr std::uint64_t kFewest = 64;  // values that a table has room for
constexpr std::uint64_t kSparse = 16;  // of so many places one is in use: the table is too large

std::optional<std::uint64_t> place(std::int64_t index, std::uint64_t count) {
  if (index < 0) index += static_cast<std::int64_t>(count);
  if (index < 0 || index >= static_cast<std::int64_t>(count)) return std::nullopt;
  return static_cast<std::uint64_t>(index);
}

}  // namespace

// A table has two rows, so that one store moves all values behind a place: the row that isn't the
// current one is filled, and becomes it together with the count.

SharedSequence::SharedSequence() : SharedStore(Shape::kSequence) { begin_with(new_table(0, 0)); }
SharedSequence::SharedSequence(const CellName& name) : SharedStore(name, Shape::kSequence) {}

std::uint64_t SharedSequence::size() { return Access(*this).table->count(); }

bool SharedSequence::get(std::int64_t index, SharedValue& value) {
  Access access(*this);
  Header& table = *access.table;
  auto at = place(index, table.count());
  if (!at) return false;
  read(table, value_at(table, table.row(), *at), value);
  return true;
}

bool SharedSequence::set(std::int64_t index, const SharedInput& input) {
  Incoming value(commons(), input);
  Access access(*this);
  auto at = place(index, access.table->count());
  if (!at) return false;
  if (access.table->left() < value.room()) make_room(access, 0, value.room());
  Header& table = *access.table;
  auto& word = value_at(table, table.row(), *at);
  std::uint64_t written = write(table, value);
  ++table.changes;
  publish_by(access, word, &value, [&] { word.store(written, std::memory_order_release); });
  return true;
}

void SharedSequence::append(std::span<const SharedInput> inputs) {
  std::vector<Incoming> values;
  values.reserve(inputs.size());
  std::uint64_t room = 0;
  for (const SharedInput& input : inputs) {
    values.emplace_back(commons(), input);
    room += values.back().room();
  }
  bool has_blocks = std::ranges::any_of(values, &Incoming::is_long);
  Access access(*this);
  std::uint64_t count = access.table->count();
  bool has_room = access.table->left() >= room && access.table->capacity - count >= values.size();
  if (has_blocks && values.size() > 1) {
    // They are shown by the table.
    Header& to = make_copy(*access.table, values.size(), room);
    for (Incoming& value : values) value_at(to, 0, count++) = write(to, value);
    to.extent = count << 1;
    replace_table(access, to, values);
    return;
  }
  if (!has_room) make_room(access, values.size(), room);
  Header& table = *access.table;
  std::uint64_t row = table.row();
  for (Incoming& value : values) value_at(table, row, count++) = write(table, value);
  ++table.changes;
  publish_by(access, 0, has_blocks ? values.data() : nullptr,
             [&] { table.extent.store(count << 1 | row, std::memory_order_release); });
}

void SharedSequence::insert(std::int64_t index, const SharedInput& input) {
  Incoming value(commons(), input);
  Access access(*this);
  auto count = static_cast<std::int64_t>(access.table->count());
  if (index < 0) index = std::max<std::int64_t>(0, index + count);
  auto at = static_cast<std::uint64_t>(std::min(index, count));
  if (access.table->left() < value.room() || access.table->capacity == access.table->count()) {
    make_room(access, 1, value.room());
  }
  Header& table = *access.table;
  std::uint64_t row = table.row();
  std::uint64_t other = 1 - row;
  for (std::uint64_t i = 0; i < at; ++i) move(table, row, i, other, i);
  value_at(table, other, at) = write(table, value);
  for (std::uint64_t i = at; i < table.count(); ++i) move(table, row, i, other, i + 1);
  ++table.changes;
  publish_by(access, 0, &value, [&] {
    table.extent.store((table.count() + 1) << 1 | other, std::memory_order_release);
  });
}

bool SharedSequence::take(std::int64_t index, SharedValue* value, const SharedVersion* expected) {
  Access access(*this);
  Header& table = *access.table;
  if (expected && version_of(table) != *expected) return false;
  auto at = place(index, table.count());
  if (!at) return false;
  std::uint64_t row = table.row();
  std::uint64_t last = table.count() - 1;
  std::uint64_t old = value_at(table, row, *at);
  if (value) read(table, old, *value);
  if (*at != last) {
    std::uint64_t other = 1 - row;
    for (std::uint64_t i = 0; i < *at; ++i) move(table, row, i, other, i);
    for (std::uint64_t i = *at; i < last; ++i) move(table, row, i + 1, other, i);
    row = other;
  }
  ++table.changes;
  publish_by(access, old, nullptr,
             [&] { table.extent.store(last << 1 | row, std::memory_order_release); });
  if (table.capacity > kFewest * kSparse && last < table.capacity / kSparse) {
    try {
      make_room(access, 0, 0);
    } catch (const base::OsError&) {  // then it stays as large as it is
    }
  }
  return true;
}

void SharedSequence::move(Header& table, std::uint64_t from_row, std::uint64_t from,
                          std::uint64_t to_row, std::uint64_t to) {
  std::uint64_t at = value_at(table, from_row, from).load(std::memory_order_relaxed);
  value_at(table, to_row, to).store(at, std::memory_order_relaxed);
}

void SharedSequence::clear() {
  Access access(*this);
  replace_table(access, new_table(0, 0));
}

SharedVersion SharedSequence::snapshot(SharedValues& values, std::uint64_t first,
                                       std::uint64_t count) {
  Access access(*this);
  Header& table = *access.table;
  first = std::min(first, table.count());
  std::uint64_t end = first + std::min(count, table.count() - first);
  for (std::uint64_t i = first; i < end; ++i) {
    read(table, value_at(table, table.row(), i), values);
  }
  return version_of(table);
}

// What is about to change counts as changed, also if it is killed in between.
SharedVersion SharedSequence::version_of(Header& table) { return {table.serial, table.changes}; }

SharedVersion SharedSequence::version(std::uint64_t& size) {
  Access access(*this);
  size = access.table->count();
  return version_of(*access.table);
}

bool SharedSequence::arrange(const SharedVersion& expected, std::span<const std::uint64_t> order,
                             std::span<const SharedInput> inputs) {
  std::vector<Incoming> values;
  values.reserve(inputs.size());
  for (const SharedInput& input : inputs) values.emplace_back(commons(), input);
  Access access(*this);
  Header& from = *access.table;
  if (version_of(from) != expected) return false;
  std::uint64_t count = from.count();
  std::uint64_t row = from.row();
  std::uint64_t bytes = 0;
  std::uint64_t fresh = 0;
  std::vector<bool> seen(count + values.size());
  for (std::uint64_t index : order) {
    if (index >= seen.size() || seen[index]) {
      throw std::invalid_argument("procession: no such value, or it is there twice");
    }
    seen[index] = true;
    fresh += index >= count;
    bytes +=
        index < count ? room_of(from, value_at(from, row, index)) : values[index - count].room();
  }
  if (fresh != values.size()) throw std::invalid_argument("procession: a value without a place");
  Header& to = new_table(order.size(), bytes * 2);
  std::uint64_t made = 0;
  for (std::uint64_t index : order) {
    value_at(to, 0, made++) = index < count ? copy_value(to, from, value_at(from, row, index))
                                            : write(to, values[index - count]);
  }
  to.extent = made << 1;
  replace_table(access, to, values);
  return true;
}

SharedSequence::Header& SharedSequence::new_table(std::uint64_t values, std::uint64_t log_bytes) {
  return make_table(std::max(kFewest, values * 2), sizeof(std::uint64_t), 2, 0, log_bytes);
}

// The same values, with room for so many more and for so many bytes. Nobody sees it yet.
SharedSequence::Header& SharedSequence::make_copy(Header& from, std::uint64_t values,
                                                  std::uint64_t log_bytes) {
  std::uint64_t count = from.count();
  std::uint64_t row = from.row();
  for (std::uint64_t i = 0; i < count; ++i) log_bytes += room_of(from, value_at(from, row, i));
  Header& to = new_table(count + values, log_bytes * 2);
  for (std::uint64_t i = 0; i < count; ++i) {
    value_at(to, 0, i) = copy_value(to, from, value_at(from, row, i));
  }
  to.extent = count << 1;
  return to;
}

void SharedSequence::make_room(Access& access, std::uint64_t values, std::uint64_t log_bytes) {
  replace_table(access, make_copy(*access.table, values, log_bytes));
}

}  // namespace procession::shm
