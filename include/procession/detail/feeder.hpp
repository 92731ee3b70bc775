// SPDX-License-Identifier: Apache-2.0
// detail/feeder: the elements of ranges, made into tasks of a pool, as many as are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ranges>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "procession/detail/any_pool.hpp"

namespace procession::detail {

// Whether an element is the argument, or a tuple of arguments.
enum class Spread : bool { kNo, kYes };

// Ranges side by side, up to the end of the shortest.
template <class... Views>
class Source {
 public:
  template <class... Ranges>
  explicit Source(std::in_place_t, Ranges&&... ranges)
      : views_(std::views::all(std::forward<Ranges>(ranges))...),
        at_(std::apply([](auto&... views) { return std::tuple(std::ranges::begin(views)...); },
                       views_)) {}
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source() = default;

  bool at_end() {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return ((std::get<I>(at_) == std::ranges::end(std::get<I>(views_))) || ...);
    }
    (std::index_sequence_for<Views...>());
  }

  // Calls `use` with the current elements.
  template <class Use>
  void give(Use use) {
    std::apply([&](auto&... at) { use(*at...); }, at_);
    std::apply([](auto&... at) { (static_cast<void>(++at), ...); }, at_);
  }

 private:
  std::tuple<Views...> views_;
  std::tuple<std::ranges::iterator_t<Views>...> at_;
};

// The task that a target does with the elements of these views.
template <Spread spread, class Target, class... Views>
struct MappedTask : std::type_identity<TaskOf<Target, std::ranges::range_reference_t<Views>...>> {};

template <class Target, class Tuple, class Numbers>
struct SpreadTask;
template <class Target, class Tuple, std::size_t... I>
struct SpreadTask<Target, Tuple, std::index_sequence<I...>>
    : std::type_identity<TaskOf<Target, decltype(std::get<I>(std::declval<Tuple>()))...>> {};
template <class Target, class View>
struct MappedTask<Spread::kYes, Target, View>
    : SpreadTask<Target, std::ranges::range_reference_t<View>,
                 std::make_index_sequence<std::tuple_size_v<
                     std::remove_cvref_t<std::ranges::range_reference_t<View>>>>> {};

// A task that was submitted, and how many elements it does.
struct Chunk {
  AnyFuture future;
  std::size_t elements = 0;
};

// Makes tasks of elements, as many as are asked for.
template <Spread spread, class Target, class... Views>
class Feeder {
 public:
  using Task = typename MappedTask<spread, Target, Views...>::type;
  using F = typename Task::F;
  using KeptArguments = typename Task::KeptArguments;

  template <class Given, class... Ranges>
  Feeder(AnyPool pool, std::size_t chunksize, Given&& target, Ranges&&... ranges)
      : pool_(std::move(pool)),
        chunksize_(chunksize),
        target_(std::forward<Given>(target)),
        source_(std::in_place, std::forward<Ranges>(ranges)...) {
    if (chunksize == 0) throw std::invalid_argument("chunksize must be >= 1");
  }

  bool at_end() { return source_.at_end(); }
  int workers() const noexcept { return pool_.max_workers(); }
  std::size_t max_pending() const { return pool_.max_pending(); }

  Chunk submit() {
    TaskFunction::Loader load =
        chunksize_ == 1 ? &SingleTask<F, KeptArguments>::load : &ChunkTask<F, KeptArguments>::load;
    TaskDraft draft(pool_.core());
    write_each<F>(draft.out(), target_);
    std::size_t elements = 0;
    for (; elements < chunksize_ && !source_.at_end(); ++elements) {
      if (chunksize_ > 1) write_more(draft.out(), true);
      source_.give(
          [&](auto&&... each) { write(draft.out(), std::forward<decltype(each)>(each)...); });
    }
    if (chunksize_ > 1) write_more(draft.out(), false);
    return {pool_.submit(target_of<F>(load, target_), draft), elements};
  }

 private:
  static void write_more(Outgoing& out, bool more) {
    std::uint8_t byte = more ? 1 : 0;
    out.write(&byte, sizeof byte);
  }

  template <class... Each>
  static void write(Outgoing& out, Each&&... each) {
    if constexpr (spread == Spread::kNo) {
      write_as(out, std::type_identity<KeptArguments>(), std::forward<Each>(each)...);
    } else {
      std::apply(
          [&](auto&&... parts) {
            write_as(out, std::type_identity<KeptArguments>(),
                     std::forward<decltype(parts)>(parts)...);
          },
          std::forward<Each>(each)...);
    }
  }

  AnyPool pool_;
  std::size_t chunksize_;
  F target_;
  Source<Views...> source_;
};

template <class Something>
Something read_something(Incoming& in) {
  if constexpr (std::is_same_v<Something, std::monostate>) {
    return {};
  } else {
    std::tuple<Something> value;
    read_into(in, value);
    return std::get<0>(std::move(value));
  }
}

}  // namespace procession::detail
