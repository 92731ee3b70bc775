// SPDX-License-Identifier: Apache-2.0
// shm/shared_sequence: a row of values that processes share.
//
// Each change, also one of many values, is there as a whole or not there; SIGKILL of any process on any
// line leaves nothing half done. Indices below 0 count from the end. Thread-safe.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.hpp"
#include "shm/shared_store.hpp"

namespace procession::shm {

class SharedSequence : public SharedStore {
 public:
  SharedSequence();  // OsError (ENOMEM)
  explicit SharedSequence(const CellName& name);

  // std::runtime_error, from all of them: the memory is corrupted. OsError (ENOMEM): it is full, and
  // nothing has changed. False: there is no such index, or the version isn't the one expected.
  bool get(std::int64_t index, SharedValue& value);
  bool set(std::int64_t index, const SharedInput& value);
  void append(std::span<const SharedInput> values);
  void insert(std::int64_t index, const SharedInput& value);  // as a list's, at the nearest place
  bool take(std::int64_t index, SharedValue* value = nullptr,
            const SharedVersion* expected = nullptr);
  void clear();
  std::uint64_t size();

  // A part of it at one moment. The version changes with everything that is changed.
  SharedVersion snapshot(SharedValues& values, std::uint64_t first = 0,
                         std::uint64_t count = UINT64_MAX);
  SharedVersion version(std::uint64_t& size);

  // Arranges it anew: what is to be at each place is what was at this index or, counted on from the
  // size, one of the new values. None of them twice, each new one once.
  bool arrange(const SharedVersion& expected, std::span<const std::uint64_t> order,
               std::span<const SharedInput> values);

 private:
  static SharedVersion version_of(Header& table);
  static void move(Header& table, std::uint64_t from_row, std::uint64_t from, std::uint64_t to_row,
                   std::uint64_t to);
  Header& new_table(std::uint64_t values, std::uint64_t log_bytes);
  Header& make_copy(Header& from, std::uint64_t values, std::uint64_t log_bytes);
  void make_room(Access& access, std::uint64_t values, std::uint64_t log_bytes);
  void rebuild(Header&) override {}
};

}  // namespace procession::shm
