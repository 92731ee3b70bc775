// SPDX-License-Identifier: Apache-2.0
// procession/shared_memory: memory that processes have in common, without a name.
//
//   mp::Value<int> counter;
//   mp::Process p(count, counter);
//   std::scoped_lock held(counter.get_lock());
//   ++counter.value();
//
// Handles: a copy names the same memory, and travels to other processes through anything that carries
// values. The memory is there while somebody has a handle. Zero at first.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <mutex>
#include <new>
#include <span>
#include <stdexcept>
#include <type_traits>

#include "procession/detail/shared.hpp"
#include "procession/synchronize.hpp"

namespace procession {

// Bytes, at an address that is a multiple of 64. Who may write when is the program's business.
class PROCESSION_EXPORT SharedMemory : public detail::SharedHandle<detail::BytesState> {
 public:
  SharedMemory() = default;                 // none
  explicit SharedMemory(std::size_t size);  // OsError (ENOMEM)

  std::span<std::byte> bytes() const;  // valid as long as a handle is
  std::size_t size() const { return bytes().size(); }
};

namespace detail {

// What all processes may look at as it is: it has neither pointers to follow nor anything to destroy.
template <class T>
constexpr bool check_in_place() {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>,
                "procession: what processes share in place must be trivially copyable");
  static_assert(alignof(T) <= 64, "procession: shared memory is aligned to 64 bytes");
  return true;
}

}  // namespace detail

// One T in shared memory, with an RLock.
template <class T>
class Value {
 public:
  Value() : Value(T{}) {}
  explicit Value(const T& initial) : memory_(sizeof(T)) {
    static_assert(detail::check_in_place<T>());
    if (!memory_.bytes().empty()) new (memory_.bytes().data()) T(initial);
  }

  // In place. Under get_lock(), unless it is written by one process only, or by std::atomic_ref.
  T& value() const { return *std::launder(reinterpret_cast<T*>(memory_.bytes().data())); }

  // Under the lock.
  T get() const {
    std::scoped_lock held(get_lock());
    return value();
  }
  void set(const T& to) const {
    std::scoped_lock held(get_lock());
    value() = to;
  }

  RLock& get_lock() const noexcept { return lock_; }

  template <class Archive>
  requires std::same_as<Archive, detail::Encoder> || std::same_as<Archive, detail::Decoder>
  void CEREAL_SERIALIZE_FUNCTION_NAME(Archive& archive) { archive(memory_, lock_); }

 private:
  SharedMemory memory_;
  mutable RLock lock_;
};

// A number of them, in a row, with an RLock.
template <class T>
class Array {
 public:
  Array() = default;  // of none
  explicit Array(std::size_t size) : memory_(bytes_for(size)) {}
  explicit Array(std::span<const T> values) : Array(values.size()) {
    for (std::size_t i = 0; i < values.size(); ++i) (*this)[i] = values[i];
  }
  Array(std::initializer_list<T> values) : Array(std::span(values.begin(), values.size())) {}

  std::size_t size() const { return memory_.size() / sizeof(T); }
  bool empty() const { return size() == 0; }
  T* data() const { return std::launder(reinterpret_cast<T*>(memory_.bytes().data())); }
  T* begin() const { return data(); }
  T* end() const { return data() + size(); }
  T& operator[](std::size_t index) const { return data()[index]; }
  T& at(std::size_t index) const {
    if (index >= size()) throw std::out_of_range("array index out of range");
    return data()[index];
  }

  RLock& get_lock() const noexcept { return lock_; }

  template <class Archive>
  requires std::same_as<Archive, detail::Encoder> || std::same_as<Archive, detail::Decoder>
  void CEREAL_SERIALIZE_FUNCTION_NAME(Archive& archive) { archive(memory_, lock_); }

 private:
  static std::size_t bytes_for(std::size_t size) {
    static_assert(detail::check_in_place<T>());
    if (size > static_cast<std::size_t>(-1) / 2 / sizeof(T)) throw std::bad_array_new_length();
    return size * sizeof(T);
  }

  SharedMemory memory_;
  mutable RLock lock_;
};

}  // namespace procession
