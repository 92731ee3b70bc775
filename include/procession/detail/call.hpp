// SPDX-License-Identifier: Apache-2.0
// detail/call: a target with its arguments, to be run in another process.
//
// Under fork the child runs the parent's own Call. Otherwise `encode` writes it, and the child reads
// it by the function that `reader` names, an instance of a template that both images have.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

#include "procession/detail/archive.hpp"
#include "procession/detail/export.hpp"
#include "procession/detail/signature.hpp"

namespace procession::detail {

class PROCESSION_EXPORT Call {
 public:
  using Reader = void (*)(Incoming&);

  Call() = default;
  virtual ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  virtual void run() = 0;

  // Reads what `encode` wrote, and runs it. Null: it can only run in a copy of this process, and
  // `obstacle` says why.
  virtual Reader reader() const = 0;
  virtual void encode(Outgoing& out) const = 0;
  virtual const char* obstacle() const = 0;
};

// How the target itself travels.
enum class TargetKind { kFunction, kMemberFunction, kStateless, kSerialisable, kOpaque };

template <class F>
consteval TargetKind target_kind() {
  if constexpr (kIsFunctionPointer<F>) {
    return TargetKind::kFunction;
  } else if constexpr (std::is_member_function_pointer_v<F>) {
    return TargetKind::kMemberFunction;
  } else if constexpr (std::is_empty_v<F> && std::default_initializable<F>) {
    return TargetKind::kStateless;
  } else if constexpr (travels<F>() && std::default_initializable<F>) {
    return TargetKind::kSerialisable;
  } else {
    return TargetKind::kOpaque;
  }
}

// A pointer to a member function, as the C++ ABI has it: an address, or a place in the vtable, and
// an adjustment of `this`. The lowest bit of one of them tells which.
struct MemberFunctionWords {
  std::uintptr_t function;
  std::ptrdiff_t adjustment;
#if defined(__aarch64__) || defined(__arm__)
  bool is_virtual() const noexcept { return (adjustment & 1) != 0; }
#else
  bool is_virtual() const noexcept { return (function & 1) != 0; }
#endif
};

template <class F>
void encode_target(Encoder& encoder, const F& target) {
  if constexpr (target_kind<F>() == TargetKind::kMemberFunction) {
    auto words = std::bit_cast<MemberFunctionWords>(target);
    bool is_virtual = words.is_virtual();
    encoder(is_virtual, words.adjustment);
    if (is_virtual) {
      encoder(words.function);
    } else {
      encoder.out().function(reinterpret_cast<AnyFunction>(words.function));
    }
  } else if constexpr (target_kind<F>() != TargetKind::kStateless) {
    detail::encode(encoder, target);
  }
}

template <class F>
F decode_target(Decoder& decoder) {
  if constexpr (target_kind<F>() == TargetKind::kMemberFunction) {
    bool is_virtual = false;
    MemberFunctionWords words{};
    decoder(is_virtual, words.adjustment);
    if (is_virtual) {
      decoder(words.function);
    } else {
      words.function = reinterpret_cast<std::uintptr_t>(decoder.in().function());
    }
    return std::bit_cast<F>(words);
  } else if constexpr (target_kind<F>() == TargetKind::kStateless) {
    return F{};
  } else {
    return decode<F>(decoder);
  }
}

// Fails to compile, naming the argument, unless it can travel.
template <std::size_t ArgumentNumber, class Type>
struct Argument {
  static_assert(travels_as_field<Type>(),
                "procession: the argument of this number and type can't travel to another process. "
                "It needs cereal's serialize(), or to be a plain aggregate of what can travel. "
                "ForkProcess takes any type.");
  static_assert(
      !travels_as_field<Type>() || std::default_initializable<Type>,
      "procession: the argument of this number and type needs a default constructor to be "
      "rebuilt in another process. ForkProcess takes any type.");
  static constexpr bool kOk = travels_as_field<Type>() && std::default_initializable<Type>;
};

template <class Types, class Numbers = std::make_index_sequence<std::tuple_size_v<Types>>>
struct ArgumentsTravel;
template <class... Types, std::size_t... Index>
struct ArgumentsTravel<std::tuple<Types...>, std::index_sequence<Index...>> {
  static constexpr bool kOk = (Argument<Index + 1, Types>::kOk && ...);
};

// A call of `F` with `Kept`, a tuple. `kForkOnly`: it is never asked to travel.
template <class F, class Kept, bool kForkOnly>
class CallOf final : public Call {
 public:
  template <class Target, class... Arguments>
  explicit CallOf(std::in_place_t, Target&& target, Arguments&&... arguments)
      : target_(std::forward<Target>(target)), kept_(std::forward<Arguments>(arguments)...) {}

  void run() override { invoke(target_, kept_); }

  Reader reader() const override {
    if constexpr (kTravels) {
      return &read_and_run;
    } else {
      return nullptr;
    }
  }

  void encode([[maybe_unused]] Outgoing& out) const override {
    if constexpr (kTravels) {
      Encoder encoder(out);
      encode_target(encoder, target_);
      std::apply([&](const auto&... kept) { (detail::encode(encoder, kept), ...); }, kept_);
    }
  }

  const char* obstacle() const override {
    return kForkOnly ? "a ForkProcess runs in a copy of its parent only"
                     : "its target has state that can't be sent, as a lambda with captures does";
  }

 private:
  static constexpr bool kTravels = !kForkOnly && target_kind<F>() != TargetKind::kOpaque;

  static void invoke(F& target, Kept& kept) {
    std::apply(
        [&](auto&... values) { invoke_kept(typename ParametersOf<F>::type{}, target, values...); },
        kept);
  }

  static void read_and_run(Incoming& in) {
    Decoder decoder(in);
    F target = decode_target<F>(decoder);
    Kept kept;
    std::apply([&](auto&... values) { (decode_into(decoder, values), ...); }, kept);
    invoke(target, kept);
  }

  F target_;
  Kept kept_;
};

template <class F, class Kept>
constexpr bool kInvocable = false;
template <class F, class... Kept>
constexpr bool kInvocable<F, std::tuple<Kept...>> = std::is_invocable_v<F, Kept...>;

template <bool kForkOnly, class Target, class... Arguments>
std::unique_ptr<Call> make_call(Target&& target, Arguments&&... arguments) {
  using F = std::decay_t<Target>;
  using Known = typename ParametersOf<F>::type;
  using KeptArguments = typename KeptTypes<Known, Arguments...>::type;
  if constexpr (std::is_same_v<Known, UnknownParameters>) {
    static_assert(kInvocable<F, KeptArguments>,
                  "procession: the target can't be called with these arguments");
  } else {
    static_assert(Known::kCount == sizeof...(Arguments),
                  "procession: the target takes another number of arguments (those with default "
                  "values must be given, too)");
  }
  if constexpr (!kForkOnly) static_cast<void>(ArgumentsTravel<KeptArguments>::kOk);
  if constexpr (std::is_pointer_v<std::remove_cvref_t<Target>> || std::is_member_pointer_v<F>) {
    if (target == nullptr) throw std::invalid_argument("the target of a process is a null pointer");
  }
  return std::make_unique<CallOf<F, KeptArguments, kForkOnly>>(
      std::in_place, std::forward<Target>(target), std::forward<Arguments>(arguments)...);
}

}  // namespace procession::detail
