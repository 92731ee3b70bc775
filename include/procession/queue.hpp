// SPDX-License-Identifier: Apache-2.0
// procession/queue: values from any process to any other, first in, first out.
//
//   mp::Queue<std::string> lines;
//   mp::Process p(produce, lines);
//   std::string line = lines.get();
//
// Handles: a copy names the same queue, and travels to other processes through anything that carries
// values. What put() has taken is there even if its producer dies; a process that is killed inside of
// put() or get() leaves nobody waiting. Any number of producers and consumers. Thread-safe.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "procession/detail/any_queue.hpp"
#include "procession/detail/task.hpp"

namespace procession {

template <class T>
class Queue {
 public:
  using Seconds = detail::Seconds;

  // At most `maxsize` values at a time, or as many as memory holds if it is 0 or less.
  Queue() : Queue(0) {}
  explicit Queue(int maxsize) : queue_(maxsize) { check_type(); }

  // Waits while it is full. What serialising the value throws comes out, and nothing is put.
  void put(const T& value) { put_for(value, Seconds::max()); }

  // False if there is no room now, or not within that time.
  bool try_put(const T& value) { return put_for(value, Seconds(0)); }
  bool put_for(const T& value, Seconds timeout) {
    if constexpr (detail::kIsDirect<T>) {
      return queue_.put_bytes(&value, sizeof value, timeout);
    } else {
      detail::MessageDraft draft;
      detail::Encoder encoder(draft.out());
      detail::encode(encoder, value);
      return queue_.put(draft, timeout);
    }
  }

  // Waits for a value.
  T get() { return get_for(Seconds::max()).value(); }

  // Nothing if there is none now, or not within that time.
  std::optional<T> try_get() { return get_for(Seconds(0)); }
  std::optional<T> get_for(Seconds timeout) {
    if constexpr (detail::kIsDirect<T>) {
      T value{};
      if (!queue_.get_bytes(&value, sizeof value, timeout)) return std::nullopt;
      detail::make_valid<T>(&value, sizeof value);
      return value;
    } else {
      detail::Arrival arrival;
      if (!queue_.get(arrival, timeout)) return std::nullopt;
      detail::Decoder decoder(arrival.in());
      return detail::decode<T>(decoder);
    }
  }

  std::size_t qsize() const { return queue_.size(); }  // exact, at that moment
  bool empty() const { return qsize() == 0; }
  bool full() const { return queue_.full(); }

  // How many values this handle's process knows to be lost: a process was killed as it received them.
  std::size_t lost() const { return queue_.lost(); }

  // Lets go of it: this handle is invalid from now on. What was put stays for the others.
  void close() noexcept { queue_.close(); }
  bool closed() const noexcept { return queue_.closed(); }

  template <std::same_as<detail::Encoder> Archive>
  void CEREAL_SAVE_FUNCTION_NAME(Archive& archive) const {
    archive(queue_);
  }
  template <std::same_as<detail::Decoder> Archive>
  void CEREAL_LOAD_FUNCTION_NAME(Archive& archive) {
    archive(queue_);
  }

 protected:
  const detail::AnyQueue& any() const noexcept { return queue_; }

 private:
  static constexpr void check_type() {
    static_assert(detail::travels_as_field<T>(),
                  "procession: this type can't travel to another process. It needs cereal's "
                  "serialize(), or to be a plain aggregate of what can travel.");
    static_assert(std::default_initializable<T>,
                  "procession: what travels through a queue needs a default constructor to be "
                  "rebuilt in another process.");
  }

  detail::AnyQueue queue_;
};

// A queue that knows which values have been dealt with.
template <class T>
class JoinableQueue : public Queue<T> {
 public:
  using typename Queue<T>::Seconds;

  JoinableQueue() = default;
  explicit JoinableQueue(int maxsize) : Queue<T>(maxsize) {}

  // Says that a value that was received is dealt with. std::logic_error if all are.
  void task_done() { this->any().task_done(); }

  // Waits until all that was put is dealt with. join_for: false if that took longer.
  void join() { join_for(Seconds::max()); }
  bool join_for(Seconds timeout) { return this->any().join(timeout); }
};

// A queue with the least of functions.
template <class T>
class SimpleQueue {
 public:
  SimpleQueue() = default;

  void put(const T& value) { queue_.put(value); }
  T get() { return queue_.get(); }
  bool empty() const { return queue_.empty(); }
  void close() noexcept { queue_.close(); }

  template <std::same_as<detail::Encoder> Archive>
  void CEREAL_SAVE_FUNCTION_NAME(Archive& archive) const {
    archive(queue_);
  }
  template <std::same_as<detail::Decoder> Archive>
  void CEREAL_LOAD_FUNCTION_NAME(Archive& archive) {
    archive(queue_);
  }

 private:
  Queue<T> queue_;
};

}  // namespace procession
