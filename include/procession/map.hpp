// SPDX-License-Identifier: Apache-2.0
// procession/map: a function over the elements of ranges, in a pool: what map, imap and so on give.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "procession/detail/any_pool.hpp"
#include "procession/detail/feeder.hpp"
#include "procession/error.hpp"

namespace procession {

struct MapOptions {
  // Elements that one task does, one after the other. If one of them fails, the task does.
  std::size_t chunksize = 1;
  // Elements that are read ahead of the result that is looked at; 0: 128 tasks for each worker.
  std::size_t buffersize = 0;
  // For all results together, from the call on: TimeoutError.
  std::optional<std::chrono::duration<double>> timeout = {};
};

namespace detail {

// Tasks that are under way, taken in order.
class InOrder {
 public:
  void add(Chunk chunk) { chunks_.push_back(std::move(chunk)); }
  bool empty() const noexcept { return chunks_.empty(); }
  Chunk take() {
    Chunk chunk = std::move(chunks_.front());
    chunks_.pop_front();
    return chunk;
  }
  void cancel() {
    for (const Chunk& chunk : chunks_) chunk.future.cancel();
  }

  // Of one that was taken.
  static bool wait(const Chunk& chunk, std::optional<AnyFuture::Seconds> timeout) {
    return !timeout || chunk.future.wait_for(*timeout);
  }

 private:
  std::deque<Chunk> chunks_;
};

// The same, taken as they end.
class AsTheyEnd {
 public:
  void add(Chunk chunk) {
    gathering_->add(chunk.future, number_);
    chunks_.emplace(number_++, std::move(chunk));
  }
  bool empty() const noexcept { return chunks_.empty(); }
  std::optional<Chunk> take(std::optional<AnyFuture::Seconds> timeout) {
    std::optional<std::size_t> number = gathering_->next(timeout);
    if (!number) return std::nullopt;
    auto found = chunks_.find(*number);
    Chunk chunk = std::move(found->second);
    chunks_.erase(found);
    return chunk;
  }
  void cancel() {
    for (const auto& [number, chunk] : chunks_) chunk.future.cancel();
  }

 private:
  std::unique_ptr<Gathering> gathering_ = std::make_unique<Gathering>();
  std::map<std::size_t, Chunk> chunks_;
  std::size_t number_ = 0;
};

}  // namespace detail

// The results of a map: an input range, to be gone through once. Movable. Dropping it cancels what
// hasn't begun.
template <class Feeder, class Order>
class MapResults {
 public:
  using value_type = typename Feeder::Task::Something;

  template <class... Arguments>
  MapResults(MapOptions options, detail::AnyPool pool, Arguments&&... arguments)
      : state_(std::make_unique<State>(options, std::move(pool),
                                       std::forward<Arguments>(arguments)...)) {
    state_->fill();
  }

  class Iterator {
   public:
    using value_type = typename MapResults::value_type;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    explicit Iterator(MapResults* of) : of_(of) {}
    value_type& operator*() const { return of_->state_->values.front(); }
    value_type* operator->() const { return &of_->state_->values.front(); }
    Iterator& operator++() {
      of_->state_->values.pop_front();
      of_->state_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return of_->state_->values.empty(); }

   private:
    MapResults* of_ = nullptr;
  };

  // Waits for the first result.
  Iterator begin() {
    state_->advance();
    return Iterator(this);
  }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  using Clock = std::chrono::steady_clock;
  using Seconds = detail::AnyFuture::Seconds;

  struct State {
    template <class... Arguments>
    State(MapOptions given, detail::AnyPool pool, Arguments&&... arguments)
        : options(given),
          feeder(std::move(pool), given.chunksize, std::forward<Arguments>(arguments)...) {
      if (options.buffersize == 0) {
        options.buffersize = options.chunksize * 128 * static_cast<std::size_t>(feeder.workers());
      }
      if (is_bounded()) {
        options.buffersize = std::min(options.buffersize, options.chunksize * feeder.max_pending());
      }
    }
    ~State() {
      try {
        under_way.cancel();
      } catch (const std::exception&) {  // in a forked copy
      }
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    // Then more than that many would wait in submit(), whatever the timeout.
    bool is_bounded() const { return feeder.max_pending() > 0; }

    void fill() {
      while (elements < options.buffersize && !feeder.at_end()) {
        detail::Chunk chunk = feeder.submit();
        elements += chunk.elements;
        under_way.add(std::move(chunk));
      }
    }

    void advance() {
      if (!values.empty() || under_way.empty()) return;
      detail::Chunk chunk = next();
      detail::Incoming in = chunk.future.result();
      for (std::size_t i = 0; i < chunk.elements; ++i) {
        values.push_back(detail::read_something<value_type>(in));
      }
    }

    detail::Chunk next() {
      std::optional<Seconds> left = options.timeout;
      if (left) *left -= Clock::now() - begun;
      std::optional<detail::Chunk> chunk;
      bool ended = false;
      if constexpr (std::is_same_v<Order, detail::InOrder>) {
        chunk = under_way.take();
        if (!is_bounded()) made_room(*chunk);  // ahead of the wait
        ended = Order::wait(*chunk, left);
        if (is_bounded() && ended) made_room(*chunk);
      } else {
        chunk = under_way.take(left);
        ended = chunk.has_value();
        if (ended) made_room(*chunk);
      }
      if (!ended) throw TimeoutError("the results have not all come within the timeout");
      return std::move(*chunk);
    }

    void made_room(const detail::Chunk& chunk) {
      elements -= chunk.elements;
      fill();
    }

    MapOptions options;
    Clock::time_point begun = Clock::now();
    Feeder feeder;
    Order under_way;
    std::size_t elements = 0;  // under way
    std::deque<value_type> values;
  };

  std::unique_ptr<State> state_;
};

// The results of a map that was submitted as a whole, as a list. Copies name the same tasks. get()
// may be called more than once. Thread-safe.
template <class Type>
class AsyncMap {
 public:
  using Seconds = detail::AnyFuture::Seconds;
  using Something = std::conditional_t<std::is_void_v<Type>, std::monostate, Type>;

  explicit AsyncMap(std::vector<detail::Chunk> chunks) : chunks_(std::move(chunks)) {}

  // Waits for all; throws what the first that failed, in order, threw.
  std::vector<Something> get() const {
    std::vector<Something> results;
    for (const detail::Chunk& chunk : chunks_) {
      detail::Incoming in = chunk.future.result();
      for (std::size_t i = 0; i < chunk.elements; ++i) {
        results.push_back(detail::read_something<Something>(in));
      }
    }
    return results;
  }

  void wait() const {
    for (const detail::Chunk& chunk : chunks_) chunk.future.wait();
  }
  bool wait_for(Seconds timeout) const {
    auto end = std::chrono::steady_clock::now() + timeout;
    for (const detail::Chunk& chunk : chunks_) {
      if (!chunk.future.wait_for(end - std::chrono::steady_clock::now())) return false;
    }
    return true;
  }
  bool done() const {
    for (const detail::Chunk& chunk : chunks_) {
      if (!chunk.future.done()) return false;
    }
    return true;
  }
  // Takes back what no worker has been given.
  void cancel() const {
    for (const detail::Chunk& chunk : chunks_) chunk.future.cancel();
  }

 private:
  std::vector<detail::Chunk> chunks_;
};

namespace detail {

template <Spread spread, class Order = InOrder, class Target, class... Ranges>
auto make_map(const AnyPool& pool, MapOptions options, Target&& target, Ranges&&... ranges) {
  static_assert(sizeof...(Ranges) > 0, "procession: map takes at least one range");
  using Feeding = Feeder<spread, std::decay_t<Target>, std::views::all_t<Ranges>...>;
  return MapResults<Feeding, Order>(options, pool, std::forward<Target>(target),
                                    std::forward<Ranges>(ranges)...);
}

// Submits all of it. Chunks of 0: so that each worker gets four, if the number of elements is known.
template <Spread spread, class Target, class Range>
auto make_async_map(const AnyPool& pool, std::size_t chunksize, Target&& target, Range&& range) {
  using Feeding = Feeder<spread, std::decay_t<Target>, std::views::all_t<Range>>;
  using Type = typename Feeding::Task::Type;
  if (chunksize == 0) {
    chunksize = 1;
    if constexpr (std::ranges::sized_range<Range> || std::ranges::forward_range<Range>) {
      auto size = static_cast<std::size_t>(std::ranges::distance(range));
      std::size_t parts = 4 * static_cast<std::size_t>(pool.max_workers());
      chunksize = size / parts + (size % parts != 0 ? 1 : 0);
      if (chunksize == 0) chunksize = 1;
    }
  }
  Feeding feeder(pool, chunksize, std::forward<Target>(target), std::forward<Range>(range));
  std::vector<Chunk> chunks;
  while (!feeder.at_end()) chunks.push_back(feeder.submit());
  return AsyncMap<Type>(std::move(chunks));
}

}  // namespace detail

}  // namespace procession
