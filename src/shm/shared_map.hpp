// SPDX-License-Identifier: Apache-2.0
// shm/shared_map: keys and values that processes share, in the order in which the keys came.
//
// Keys are equal if their bytes are. Each change is there or not there, by one store; SIGKILL of any
// process on any line leaves every value whole, and nothing else behind. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.hpp"
#include "shm/shared_store.hpp"

namespace procession::shm {

class SharedMap : public SharedStore {
 public:
  SharedMap();  // OsError (ENOMEM)
  explicit SharedMap(const CellName& name);

  using Version = SharedVersion;  // of a key's value

  // `bytes`: what keys are compared by. `shown`: what snapshots give instead, if it isn't empty.
  struct Key {
    base::BytesView bytes;
    base::BytesView shown = {};
  };

  // std::runtime_error, from all of them: the memory is corrupted. OsError (ENOMEM): it is full, and
  // nothing has changed.
  bool get(base::BytesView key, SharedValue& value, Version* version = nullptr);
  bool contains(base::BytesView key);

  // False, and nothing has changed, if there is an `expected` version and the key has another.
  // `shown` counts for a new key only.
  bool set(const Key& key, const SharedInput& value, const Version* expected = nullptr);

  // Removes it; false if it isn't there, or has another version than the one that is expected.
  bool take(base::BytesView key, SharedValue* value = nullptr, const Version* expected = nullptr);

  // The one that came last; false if there is none.
  bool take_last(SharedValue& key, SharedValue& value);

  void clear();
  std::uint64_t size();

  // All keys and, if wanted, all values at one moment, in order. A key's form is 1 if it is one that
  // is shown instead of what it is compared by.
  void snapshot(SharedValues* keys, SharedValues* values);

 private:
  struct Entry;
  struct StoredKey;

  static Entry& entry(Header& table, std::uint64_t index);
  static StoredKey& stored_key(Header& table, std::uint64_t at);
  static std::uint32_t* slots(Header& table);
  static std::optional<std::uint64_t> find(Header& table, std::uint64_t hash, base::BytesView key,
                                           std::uint32_t** slot = nullptr);
  Header& make_room(Access& access, std::uint64_t room);
  Header& new_table(std::uint64_t values, std::uint64_t log_bytes);
  void insert(Access& access, std::uint64_t hash, const Key& key, Incoming& value);
  void remove(Access& access, std::uint64_t index);
  void rebuild(Header& table) override;
};

}  // namespace procession::shm
