// SPDX-License-Identifier: Apache-2.0
// procession/future: the outcome of a task that a pool's worker does.
//
// A Future is a handle: its copies name the same task. What the task gave is kept as the bytes that
// travelled, and each get() makes a value of its own from them: move-only types work, and a value
// that was got can be moved from. The bytes go with the last handle. Thread-safe.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include "procession/detail/any_future.hpp"
#include "procession/detail/archive.hpp"
#include "procession/detail/export.hpp"
#include "procession/error.hpp"

namespace procession {

template <class T>
class Future {
 public:
  using Seconds = detail::AnyFuture::Seconds;
  using value_type = T;

  Future() = default;
  explicit Future(detail::AnyFuture future) noexcept : future_(std::move(future)) {}

  // Waits for the task's end and gives its result, or throws what it threw: the exception's own type
  // if that is the standard library's or registered (register_exception), else RemoteError. WorkerDied
  // or BrokenProcessPool if its worker ended before it, CancelledError if it was cancelled.
  T get() const { return read(future_); }

  // The same; TimeoutError if it takes longer.
  T get(Seconds timeout) const {
    if (!wait_for(timeout)) throw TimeoutError("the task hasn't ended within the timeout");
    return get();
  }

  void wait() const { future_.wait(); }
  // Whether it has ended, waiting for that up to `timeout`.
  bool wait_for(Seconds timeout) const { return future_.wait_for(timeout); }

  // Whether it has ended or was cancelled.
  bool done() const { return future_.done(); }

  // Whether a worker has been given it.
  bool running() const { return future_.running(); }

  // Takes the task back if no worker has been given it; whether it is cancelled. `running`: also if
  // one has; the worker that has begun it is ended, with the processes that came of it, and replaced.
  bool cancel(bool running = false) const { return future_.cancel(running); }
  bool cancelled() const { return future_.cancelled(); }

  // Waits; what get() would throw, or null.
  std::exception_ptr exception() const { return future_.exception(); }

  // Has `function(future)` called at the end of the task: on the pool's manager thread or, if it has
  // ended, at once. Callbacks are to be short, since the pool's other callbacks wait for them; what
  // one throws is told on stderr.
  template <class Function>
  void add_done_callback(Function function) const {
    detail::add_callback(future_, [future = *this, function = std::move(function)]() mutable {
      std::invoke(function, std::move(future));
    });
  }

  // `co_await future` resumes on the pool's manager thread, or goes on at once if the task has ended;
  // it gives, or throws, what get() does.
  auto operator co_await() const {
    struct Awaiter : detail::Hook {
      explicit Awaiter(detail::AnyFuture awaited) : future(std::move(awaited)) {}
      bool await_ready() const { return future.done(); }
      bool await_suspend(std::coroutine_handle<> suspended) {
        handle = suspended;
        run = [](detail::Hook* hook) noexcept { static_cast<Awaiter*>(hook)->handle.resume(); };
        return future.try_add(*this);
      }
      T await_resume() const { return read(future); }

      detail::AnyFuture future;
      std::coroutine_handle<> handle;
    };
    return Awaiter(future_);
  }

  // False if it was made by the default constructor, or moved from.
  bool valid() const noexcept { return future_.valid(); }

  // Whether both are handles of the same task.
  bool operator==(const Future&) const = default;

  const detail::AnyFuture& any() const noexcept { return future_; }

 private:
  static T read(const detail::AnyFuture& future) {
    if constexpr (std::is_void_v<T>) {
      future.read_result(nullptr, 0);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      T value{};
      future.read_result(&value, sizeof value);
      return value;
    } else {
      detail::Incoming in = future.result();
      detail::Decoder decoder(in);
      return detail::decode<T>(decoder);
    }
  }

  detail::AnyFuture future_;
};

enum class ReturnWhen : unsigned char { kFirstCompleted, kFirstException, kAllCompleted };

// What wait() gives. `not_done` is in the order of what it was given.
template <class T>
struct DoneAndNotDone {
  std::vector<Future<T>> done;
  std::vector<Future<T>> not_done;
};

namespace detail {
template <class Range>
using FutureOf = std::remove_cvref_t<std::ranges::range_reference_t<Range>>;

template <class T>
constexpr bool kIsFuture = false;
template <class T>
constexpr bool kIsFuture<Future<T>> = true;
}  // namespace detail

template <class Range>
concept FutureRange = std::ranges::input_range<Range> && detail::kIsFuture<detail::FutureOf<Range>>;

// Waits until one of them has ended, or one with an exception, or all; or until the timeout.
template <FutureRange Range>
auto wait(Range&& futures, ReturnWhen return_when = ReturnWhen::kAllCompleted,
          std::optional<detail::AnyFuture::Seconds> timeout = std::nullopt) {
  using T = typename detail::FutureOf<Range>::value_type;
  using Clock = std::chrono::steady_clock;
  std::vector<Future<T>> all;
  for (auto&& future : futures) all.push_back(future);
  detail::Gathering gathering;
  for (std::size_t i = 0; i < all.size(); ++i) gathering.add(all[i].any(), i);
  std::vector<bool> ended(all.size());
  auto begin = Clock::now();
  DoneAndNotDone<T> result;
  bool enough = false;
  while (gathering.left() > 0) {
    auto left = timeout;
    if (left) *left -= Clock::now() - begin;
    if (enough) left = detail::AnyFuture::Seconds(0);  // those that have ended, too
    std::optional<std::size_t> next = gathering.next(left);
    if (!next) break;
    ended[*next] = true;
    result.done.push_back(all[*next]);
    enough = enough || return_when == ReturnWhen::kFirstCompleted ||
             (return_when == ReturnWhen::kFirstException && !all[*next].cancelled() &&
              all[*next].exception());
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!ended[i]) result.not_done.push_back(all[i]);
  }
  return result;
}

// Futures as they end: an input range, to be gone through once.
template <class T>
class AsCompleted {
 public:
  using Seconds = detail::AnyFuture::Seconds;

  AsCompleted(std::vector<Future<T>> futures, std::optional<Seconds> timeout)
      : state_(std::make_unique<State>(std::move(futures), timeout)) {}

  class Iterator {
   public:
    using value_type = Future<T>;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    explicit Iterator(AsCompleted* of) : of_(of) {}
    const Future<T>& operator*() const { return of_->state_->current; }
    const Future<T>* operator->() const { return &of_->state_->current; }
    Iterator& operator++() {
      of_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return of_->state_->at_end; }

   private:
    AsCompleted* of_ = nullptr;
  };

  Iterator begin() {
    advance();
    return Iterator(this);
  }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  using Clock = std::chrono::steady_clock;

  struct State {
    State(std::vector<Future<T>> of, std::optional<Seconds> patience)
        : futures(std::move(of)), timeout(patience) {
      for (std::size_t i = 0; i < futures.size(); ++i) gathering.add(futures[i].any(), i);
    }
    std::vector<Future<T>> futures;
    std::optional<Seconds> timeout;
    Clock::time_point begun = Clock::now();
    detail::Gathering gathering;
    Future<T> current;
    bool at_end = false;
  };

  void advance() {
    std::optional<Seconds> left = state_->timeout;
    if (left) *left -= Clock::now() - state_->begun;
    std::optional<std::size_t> next = state_->gathering.next(left);
    state_->at_end = !next;
    if (next) {
      state_->current = std::move(state_->futures[*next]);
    } else if (std::size_t open = state_->gathering.left(); open > 0) {
      throw TimeoutError(std::to_string(open) + " (of " + std::to_string(state_->futures.size()) +
                         ") futures unfinished");
    }
  }

  std::unique_ptr<State> state_;
};

// The futures in the order in which they end. TimeoutError, where the next is waited for, once
// `timeout` has passed since the call.
template <FutureRange Range>
auto as_completed(Range&& futures,
                  std::optional<detail::AnyFuture::Seconds> timeout = std::nullopt) {
  using T = typename detail::FutureOf<Range>::value_type;
  std::vector<Future<T>> all;
  for (auto&& future : futures) all.push_back(future);
  return AsCompleted<T>(std::move(all), timeout);
}

}  // namespace procession
