// SPDX-License-Identifier: Apache-2.0
// detail/any_future: a future without its type: the compiled half's hold on one task's outcome.
//
// A handle: copies name the same task. Thread-safe. What travelled is kept as bytes until the last
// handle is gone, and read whenever somebody asks for the value.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "procession/detail/bytes.hpp"
#include "procession/detail/export.hpp"

namespace procession::detail {

struct FutureState;

// Something that is to happen once a task has ended: on its pool's manager thread, or (`at_once`, for
// what takes a moment only) on the thread that takes in the outcome. It stays where it is till then.
struct Hook {
  void (*run)(Hook*) noexcept = nullptr;
  bool at_once = false;
  Hook* next = nullptr;
};

class PROCESSION_EXPORT AnyFuture {
 public:
  using Seconds = std::chrono::duration<double>;

  AnyFuture() = default;
  explicit AnyFuture(FutureState* state) noexcept : state_(state) {}  // takes over a reference
  AnyFuture(const AnyFuture& other) noexcept;
  AnyFuture(AnyFuture&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  AnyFuture& operator=(const AnyFuture& other) noexcept {
    AnyFuture copy(other);
    std::swap(state_, copy.state_);
    return *this;
  }
  AnyFuture& operator=(AnyFuture&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~AnyFuture() {
    if (state_) let_go(state_);
  }

  bool valid() const noexcept { return state_ != nullptr; }
  bool operator==(const AnyFuture&) const = default;

  // std::runtime_error for a task that hasn't ended, in a forked copy of its process.
  void wait() const;
  bool wait_for(Seconds timeout) const;
  bool done() const;
  bool running() const;
  bool cancel(bool running = false) const;
  bool cancelled() const;

  // Waits; null if there is a result.
  std::exception_ptr exception() const;

  // Waits for the result, whose bytes are valid as long as a handle is, or throws what came instead.
  Incoming result() const;

  // The same for one that is `size` bytes and nothing else.
  void read_result(void* data, std::size_t size) const;

  // Runs `hook` at the end; at once, on this thread, if that has been. Returns whether it had been.
  void add(Hook& hook) const;
  // Adds an at_once one, unless the task has ended: false.
  bool try_add(Hook& hook) const;
  // Takes an at_once hook out again. False if it has run, or is about to.
  bool remove(Hook& hook) const;

  FutureState* state() const noexcept { return state_; }

 private:
  static void let_go(FutureState* state) noexcept;

  FutureState* state_ = nullptr;
};

// Futures, told in the order in which they end. Not thread-safe, not to be moved.
class PROCESSION_EXPORT Gathering {
 public:
  Gathering();
  ~Gathering();
  Gathering(const Gathering&) = delete;
  Gathering& operator=(const Gathering&) = delete;

  void add(AnyFuture future, std::size_t number);

  // How many have not been told.
  std::size_t left() const noexcept;

  // Waits for the next and gives its number; nothing if the timeout passes or none is left.
  std::optional<std::size_t> next(std::optional<AnyFuture::Seconds> timeout);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A hook that calls `function()` and is gone.
PROCESSION_EXPORT void add_callback(const AnyFuture& future, std::function<void()> function);

}  // namespace procession::detail
