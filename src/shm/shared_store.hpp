// SPDX-License-Identifier: Apache-2.0
// shm/shared_store: what shared containers are made of: values of any size in a table that grows, with
// one robust mutex around it. shared_map and shared_sequence say how a table's values are found.
//
// The table lies in a block of the arena, long values in blocks of their own; all of them are the
// session's and go with the cell. SIGKILL of any process on any line hurts nobody: what is new becomes
// visible by one store, and the next one to lock settles what was left behind.
// Thread-safe. Bytes are opaque; a front door knows what they mean.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.hpp"
#include "os/robust_mutex.hpp"
#include "shm/commons.hpp"

namespace procession::shm {

// A value as it is given back, a copy.
struct SharedValue {
  std::uint32_t form = 0;  // the front door's, of 31 bits
  base::Bytes bytes;
};

// Many of them: each one's bytes end where the next one's begin.
struct SharedValues {
  struct Item {
    std::uint32_t form = 0;
    std::size_t end = 0;
  };
  std::vector<Item> items;
  base::Bytes bytes;

  base::BytesView at(std::size_t index) const {
    std::size_t begin = index == 0 ? 0 : items[index - 1].end;
    return base::BytesView(bytes).subspan(begin, items[index].end - begin);
  }
};

// Tells whether something is still what it was. All zero: there was nothing.
struct SharedVersion {
  std::uint64_t table = 0;
  std::uint64_t at = 0;
  bool operator==(const SharedVersion&) const = default;
};

// A value that is to be stored: its bytes are the pieces, one after the other.
struct SharedInput {
  std::uint32_t form = 0;
  std::span<const base::BytesView> pieces;
};

class SharedStore {
 public:
  // Longer values have a block of their own.
  static constexpr std::size_t kMostInTable = Arena::kUnit;

  virtual ~SharedStore() = default;
  SharedStore(const SharedStore&) = delete;
  SharedStore& operator=(const SharedStore&) = delete;

  const std::shared_ptr<Cell>& cell() const noexcept { return cell_; }

 protected:
  enum class Shape : std::uint32_t { kMap = 1, kSequence };

  struct Record;
  struct Far;

  // The beginning of a table's block. Then, from values_at on, records of `stride` bytes whose last 8
  // say where a value lies, or 0; then the log, to which values are only ever appended.
  struct Header {
    std::uint64_t serial;  // of its block: no two have the same
    std::uint64_t offset;  // of its block
    std::uint64_t size;    // bytes, all in all
    std::uint64_t capacity;
    std::uint64_t stride;
    std::uint64_t values_at;
    std::uint64_t log_at;
    std::uint64_t end;  // of the log
    // How many records are valid; and of a sequence, which has two rows of them, the current row.
    std::atomic<std::uint64_t> extent;  // count << 1 | row
    std::uint64_t slots;                // of a map's index
    std::uint64_t live;                 // values of a map
    std::uint64_t changes;              // of a sequence
    std::uint64_t last;                 // of a map: no value in records from there on

    std::uint64_t count() const noexcept { return extent.load(std::memory_order_acquire) >> 1; }
    std::uint64_t row() const noexcept { return extent.load(std::memory_order_acquire) & 1; }
    std::byte* byte(std::uint64_t at) noexcept { return reinterpret_cast<std::byte*>(this) + at; }
    std::uint64_t left() const noexcept { return size - end; }
    std::uint64_t first_of(std::uint64_t which_row) const noexcept {
      return values_at + which_row * capacity * stride;
    }
  };

  // A value on its way in. A long one lies in a block, this process's until it is published.
  class Incoming {
   public:
    Incoming(Commons& commons, const SharedInput& input);
    ~Incoming();
    Incoming(Incoming&& other) noexcept;
    Incoming(const Incoming&) = delete;
    Incoming& operator=(const Incoming&) = delete;
    Incoming& operator=(Incoming&&) = delete;

    std::uint64_t room() const noexcept;  // in the log
    bool is_long() const noexcept { return offset_ != 0; }

   private:
    friend class SharedStore;
    Commons& commons_;
    SharedInput input_;
    std::size_t size_ = 0;
    std::uint64_t offset_ = 0;  // of its block; 0: none
    std::uint64_t serial_ = 0;
  };

  // Holds the mutex. What a process left half done that was killed is settled.
  class Access {
   public:
    explicit Access(SharedStore& store);
    Record& record;
    Header* table;

   private:
    os::RobustLock lock_;
  };

  explicit SharedStore(Shape shape);
  SharedStore(const CellName& name, Shape shape);  // std::runtime_error if it is of another shape

  // With the mutex held, all of it.

  // Where the value of a record lies: to be read, and to be changed by one store.
  static std::atomic<std::uint64_t>& value_at(Header& table, std::uint64_t row,
                                              std::uint64_t index);

  // A table of this process that nobody sees yet. OsError (ENOMEM).
  Header& make_table(std::uint64_t capacity, std::uint64_t stride, std::uint64_t rows,
                     std::uint64_t slots, std::uint64_t log_bytes);
  void begin_with(Header& table);  // it is the first
  // It becomes the table. Blocks of values that are only in the old one go, and `arriving` are in.
  Header& replace_table(Access& access, Header& table, std::span<Incoming> arriving = {});
  void forget_table(Header& table) noexcept;  // that was never shown

  // Appends it to the log, where there is room; its place.
  static std::uint64_t write(Header& table, const Incoming& value);
  // The same for a value of another table, which may be a part of both then.
  static std::uint64_t copy_value(Header& to, Header& from, std::uint64_t at);
  static std::uint64_t room_of(Header& table, std::uint64_t at);

  // Calls `store`, which shows or hides values by one store: `arriving`, which was written, and the one
  // at `old` (0: none), which goes.
  template <class Store>
  void publish_by(Access& access, std::uint64_t old, Incoming* arriving, Store store);

  void read(Header& table, std::uint64_t at, SharedValue& value);
  void read(Header& table, std::uint64_t at, SharedValues& values);

  Commons& commons() const noexcept { return cell_->commons(); }
  Record& record() const noexcept;

  // What a table has besides its values is made anew from them.
  virtual void rebuild(Header& table) = 0;

 private:
  struct Loose;
  struct Stored;

  static Stored& stored(Header& table, std::uint64_t at);
  static const Far* far_of(Header& table, std::uint64_t at);
  static Header& checked_table(std::span<std::byte> bytes, std::uint64_t serial);
  template <class See>
  static void each_far(Header& table, See see);
  template <class Way>
  static void drop_table(Way way, Loose& loose, std::uint64_t size, Header* kept);
  Header& map(const Record& store);
  void repair(Record& store);
  void settle(Loose& loose, Header& table);
  void begin_publishing(Record& store, Header& table, std::uint64_t old, Incoming* arriving);
  void end_publishing(Record& store, Incoming* arriving);
  base::BytesView bytes_of(Stored& value);
  static void end(Arena& arena, CellHeader& header);
  static const bool kRegistered;

  std::shared_ptr<Cell> cell_;
  struct {
    std::uint64_t offset = 0;
    std::uint64_t serial = 0;
    Header* table = nullptr;
  } mapped_;  // where the table was last, under the mutex
};

template <class Store>
void SharedStore::publish_by(Access& access, std::uint64_t old, Incoming* arriving, Store store) {
  begin_publishing(access.record, *access.table, old, arriving);
  store();
  end_publishing(access.record, arriving);
}

}  // namespace procession::shm
