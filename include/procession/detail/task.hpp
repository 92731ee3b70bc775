// SPDX-License-Identifier: Apache-2.0
// detail/task: a function that a pool's workers call, and how its arguments and results travel.
//
// A target without state of its own (a function, a lambda without captures) goes to each worker
// once; a functor with state goes with each call. A worker makes a TaskFunction of it by the function
// that `load` names, an instance of a template that both images have.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "procession/detail/call.hpp"

namespace procession::detail {

// In a worker: calls the target with arguments that are read, and writes its result.
class PROCESSION_EXPORT TaskFunction {
 public:
  using Loader = std::unique_ptr<TaskFunction> (*)(Incoming&);

  TaskFunction() = default;
  virtual ~TaskFunction();
  TaskFunction(const TaskFunction&) = delete;
  TaskFunction& operator=(const TaskFunction&) = delete;

  virtual void run(Incoming& arguments, Outgoing& result) = 0;
};

// What tells one function of a pool from others. `words` is the target itself if it is a pointer.
struct TaskName {
  TaskFunction::Loader load = nullptr;
  std::array<std::uintptr_t, 2> words{};
  const std::type_info* type = nullptr;  // of the target

  bool operator==(const TaskName& other) const noexcept {
    // One by one: to load both at once, just after each was stored, a CPU has to wait for that.
    return load == other.load && words[0] == other.words[0] && words[1] == other.words[1];
  }
};

// A function that a task names, and what goes to each worker once, if it is new to the pool: what
// `write_once` writes of `target`.
struct TaskTarget {
  TaskName name;
  void (*write_once)(Outgoing& out, const void* target) = nullptr;
  const void* target = nullptr;
};

// --- what travels

template <class T>
constexpr bool kIsDirect = std::is_arithmetic_v<T> || std::is_enum_v<T>;

// Writes values as `Types`. Numbers need no archive.
template <class... Types, class... Values>
void write_as(Outgoing& out, std::type_identity<std::tuple<Types...>>, Values&&... values) {
  if constexpr ((kIsDirect<Types> && ...)) {
    auto one = [&]<class T>(std::type_identity<T>, const auto& value) {
      auto converted = static_cast<T>(value);
      out.write(&converted, sizeof converted);
    };
    (one(std::type_identity<Types>(), values), ...);
  } else {
    Encoder encoder(out);
    auto one = [&]<class T, class Value>(std::type_identity<T>, Value&& value) {
      using Given = std::remove_cvref_t<Value>;
      if constexpr (std::is_same_v<T, Given>) {
        detail::encode(encoder, value);
      } else if constexpr (kIsSpan<Given> && kIsA<std::vector, T>) {
        encoder(cereal::make_size_tag(static_cast<cereal::size_type>(value.size())));
        if (!value.empty()) out.write(value.data(), value.size_bytes());
      } else {
        detail::encode(encoder, T(std::forward<Value>(value)));
      }
    };
    (one(std::type_identity<Types>(), std::forward<Values>(values)), ...);
  }
}

// Numbers, as `write_as` writes them.
template <class... Types>
struct DirectBytes {
  template <class... Values>
  explicit DirectBytes(const Values&... values) noexcept {
    [[maybe_unused]] std::byte* at = bytes.data();
    [[maybe_unused]] auto one = [&]<class T>(std::type_identity<T>, const auto& value) {
      auto converted = static_cast<T>(value);
      std::memcpy(at, &converted, sizeof converted);
      at += sizeof converted;
    };
    (one(std::type_identity<Types>(), values), ...);
  }

  static constexpr std::size_t kSize = (sizeof(Types) + ... + 0);
  std::array<std::byte, kSize> bytes;
};

template <class... Types>
void read_into(Incoming& in, std::tuple<Types...>& values) {
  if constexpr ((kIsDirect<Types> && ...)) {
    std::apply([&](Types&... each) { (read_plain<Types>(in, &each, sizeof each), ...); }, values);
  } else {
    Decoder decoder(in);
    std::apply([&](Types&... each) { (decode_into(decoder, each), ...); }, values);
  }
}

// What a target of type F, called with `KeptArguments`, gives; as it travels, and as it is handed
// out where each call has to give something.
template <class F, class KeptArguments>
struct ResultOf;
template <class F, class... KeptArguments>
struct ResultOf<F, std::tuple<KeptArguments...>> {
  using Raw = decltype(invoke_kept(typename ParametersOf<F>::type{}, std::declval<F&>(),
                                   std::declval<KeptArguments&>()...));
  using Type = std::conditional_t<std::is_void_v<Raw>, void, Kept<Raw>>;
  using Something = std::conditional_t<std::is_void_v<Raw>, std::monostate, Type>;
};

template <class Type>
struct Result {
  static constexpr bool kTravels = travels_as_field<Type>() && std::default_initializable<Type>;
  static_assert(kTravels,
                "procession: a result of this type can't travel back. It needs a default "
                "constructor, and cereal's serialize() or to be a plain aggregate of what can "
                "travel.");
};
template <>
struct Result<void> {
  static constexpr bool kTravels = true;
};

// How a call of Target with arguments of these types travels; what can't doesn't compile.
template <class Target, class... Arguments>
struct TaskOf {
  using F = std::decay_t<Target>;
  using Known = typename ParametersOf<F>::type;
  using KeptArguments = typename KeptTypes<Known, Arguments...>::type;

  static consteval bool check() {
    if constexpr (std::is_same_v<Known, UnknownParameters>) {
      static_assert(kInvocable<F, KeptArguments>,
                    "procession: the target can't be called with these arguments");
    } else {
      static_assert(Known::kCount == sizeof...(Arguments),
                    "procession: the target takes another number of arguments (those with default "
                    "values must be given, too)");
    }
    static_assert(target_kind<F>() != TargetKind::kOpaque,
                  "procession: the target has state that can't be sent, as a lambda with captures "
                  "does. Use a function, or a functor that is a plain aggregate or has cereal's "
                  "serialize().");
    return ArgumentsTravel<KeptArguments>::kOk;
  }
  static_assert(check());

  using Type = typename ResultOf<F, KeptArguments>::Type;
  using Something = typename ResultOf<F, KeptArguments>::Something;
  static_assert(Result<Type>::kTravels);
};

// --- the worker's side

// The target, as it came: once for all calls or, if it has state, with each.
template <class F>
class LoadedTarget {
 public:
  static constexpr bool kOnce = target_kind<F>() != TargetKind::kSerialisable;

  explicit LoadedTarget(Incoming& in) {
    if constexpr (kOnce) {
      Decoder decoder(in);
      target_.emplace(decode_target<F>(decoder));
    }
  }

  F fresh(Incoming& in) const {
    if constexpr (kOnce) {
      return *target_;
    } else {
      Decoder decoder(in);
      return decode_target<F>(decoder);
    }
  }

 private:
  std::optional<F> target_;
};

// Whether a call with arguments of these types is nothing but numbers, and no more than usual.
template <class F, class KeptArguments>
constexpr bool kIsDirectCall = false;
template <class F, class... Types>
constexpr bool kIsDirectCall<F, std::tuple<Types...>> = LoadedTarget<F>::kOnce &&
                                                        (kIsDirect<Types> && ...) &&
                                                        sizeof...(Types) <= 16;

template <class F, class KeptArguments>
void call_once(F& target, Incoming& in, Outgoing& out) {
  using Type = typename ResultOf<F, KeptArguments>::Type;
  KeptArguments kept;
  read_into(in, kept);
  auto call = [&](auto&... values) -> decltype(auto) {
    return invoke_kept(typename ParametersOf<F>::type{}, target, values...);
  };
  if constexpr (std::is_void_v<Type>) {
    std::apply(call, kept);
  } else {
    write_as(out, std::type_identity<std::tuple<Type>>(), std::apply(call, kept));
  }
}

// One call.
template <class F, class KeptArguments>
class SingleTask final : public TaskFunction {
 public:
  explicit SingleTask(Incoming& in) : target_(in) {}
  static std::unique_ptr<TaskFunction> load(Incoming& in) {
    return std::make_unique<SingleTask>(in);
  }

  void run(Incoming& in, Outgoing& out) override {
    F target = target_.fresh(in);
    call_once<F, KeptArguments>(target, in, out);
  }

 private:
  LoadedTarget<F> target_;
};

// Calls in a row, one result after the other: u8 1 and the arguments, for each; u8 0.
template <class F, class KeptArguments>
class ChunkTask final : public TaskFunction {
 public:
  explicit ChunkTask(Incoming& in) : target_(in) {}
  static std::unique_ptr<TaskFunction> load(Incoming& in) {
    return std::make_unique<ChunkTask>(in);
  }

  void run(Incoming& in, Outgoing& out) override {
    const F target = target_.fresh(in);
    std::uint8_t more = 0;
    for (in.read(&more, sizeof more); more; in.read(&more, sizeof more)) {
      F one = target;
      call_once<F, KeptArguments>(one, in, out);
    }
  }

 private:
  LoadedTarget<F> target_;
};

// --- the parent's side

// What goes to each worker once, and what goes with each call.
template <class F>
void write_once(Outgoing& out, const void* target) {
  if constexpr (LoadedTarget<F>::kOnce) {
    Encoder encoder(out);
    encode_target(encoder, *static_cast<const F*>(target));
  }
}
template <class F>
void write_each(Outgoing& out, const F& target) {
  if constexpr (!LoadedTarget<F>::kOnce) {
    Encoder encoder(out);
    encode_target(encoder, target);
  }
}

// `target` is to last as long as what this gives.
template <class F>
TaskTarget target_of(TaskFunction::Loader load, const F& target) {
  TaskName name{load, {}, &typeid(F)};
  if constexpr (std::is_pointer_v<F> || std::is_member_pointer_v<F>) {
    static_assert(sizeof(F) <= sizeof name.words);
    if (target == nullptr) throw std::invalid_argument("the target of a task is a null pointer");
    std::memcpy(name.words.data(), &target, sizeof target);
  }
  return {name, &write_once<F>, &target};
}

}  // namespace procession::detail
