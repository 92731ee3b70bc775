// SPDX-License-Identifier: Apache-2.0
// detail/signature: which type each argument has on its way to a target.
//
// A target with one signature gets its own parameter types: "bob" travels as the std::string that
// hello(std::string) takes. Others, such as generic lambdas, get the types of what they were given.
// Character strings and string views travel as std::string, spans as std::vector, and are shown as
// what they were.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace procession::detail {

// The parameters of a callable type, if it has one signature.
template <class... Types>
struct Parameters {
  static constexpr std::size_t kCount = sizeof...(Types);
};
struct UnknownParameters {};

template <class Member>
struct OfMember;
template <class R, class C, class... P>
struct OfMember<R (C::*)(P...)> : std::type_identity<Parameters<P...>> {};
template <class R, class C, class... P>
struct OfMember<R (C::*)(P...) const> : std::type_identity<Parameters<P...>> {};
template <class R, class C, class... P>
struct OfMember<R (C::*)(P...) noexcept> : std::type_identity<Parameters<P...>> {};
template <class R, class C, class... P>
struct OfMember<R (C::*)(P...) const noexcept> : std::type_identity<Parameters<P...>> {};
template <class Other>
requires(!std::is_member_function_pointer_v<Other>) struct OfMember<Other>
    : std::type_identity<UnknownParameters> {
};

template <class F>
struct ParametersOf : std::type_identity<UnknownParameters> {};
template <class F>
requires requires { &F::operator(); }
struct ParametersOf<F> : OfMember<decltype(&F::operator())> {};
template <class R, class... P>
struct ParametersOf<R (*)(P...)> : std::type_identity<Parameters<P...>> {};
template <class R, class... P>
struct ParametersOf<R (*)(P...) noexcept> : std::type_identity<Parameters<P...>> {};

template <class T>
constexpr bool kIsCharacterString =
    std::is_same_v<std::decay_t<T>, const char*> || std::is_same_v<std::decay_t<T>, char*> ||
    std::is_same_v<std::decay_t<T>, std::string_view>;

template <class T>
constexpr bool kIsSpan = false;
template <class Element, std::size_t extent>
constexpr bool kIsSpan<std::span<Element, extent>> = true;

// What is kept of an argument for a parameter of type T.
template <class T>
struct KeptAs : std::type_identity<std::conditional_t<kIsCharacterString<T>, std::string, T>> {};
template <class Element>
requires(std::is_arithmetic_v<Element> &&
         !std::is_same_v<std::remove_cv_t<Element>, bool>) struct KeptAs<std::span<Element>>
    : std::type_identity<std::vector<std::remove_cv_t<Element>>> {
};
template <class T>
using Kept = typename KeptAs<std::decay_t<T>>::type;

// The same for a parameter of type P that is given an A: an object of a derived class stays whole.
template <class P, class A>
constexpr bool kStaysDerived = std::is_reference_v<P>&& std::is_class_v<std::decay_t<P>>&&
    std::is_base_of_v<std::decay_t<P>, std::decay_t<A>>;
template <class P, class A>
using KeptFor = std::conditional_t<kStaysDerived<P, A>, Kept<A>, Kept<P>>;

template <class Parameters, class... Arguments>
struct KeptTypes : std::type_identity<std::tuple<Kept<Arguments>...>> {};
template <class... P, class... Arguments>
requires(sizeof...(P) == sizeof...(Arguments)) struct KeptTypes<Parameters<P...>, Arguments...>
    : std::type_identity<std::tuple<KeptFor<P, Arguments>...>> {
};

// How a kept value is handed to the target: as T if that is known, else as its own rvalue.
template <class T, class Value>
decltype(auto) hand_over(Value& kept) {
  if constexpr (std::is_same_v<std::decay_t<T>, const char*>) {
    return static_cast<const char*>(kept.c_str());
  } else if constexpr (std::is_same_v<std::decay_t<T>, char*>) {
    return kept.data();
  } else if constexpr (kIsSpan<std::decay_t<T>> && !kIsSpan<Value>) {
    return std::decay_t<T>(kept);
  } else if constexpr (std::is_lvalue_reference_v<T>) {
    return static_cast<Value&>(kept);
  } else {
    return static_cast<Value&&>(kept);
  }
}

template <class F, class... Kept>
decltype(auto) invoke_kept(UnknownParameters, F& target, Kept&... kept) {
  return std::invoke(std::move(target), std::move(kept)...);
}
template <class... P, class F, class... Kept>
requires(sizeof...(P) == sizeof...(Kept)) decltype(auto)
    invoke_kept(Parameters<P...>, F& target, Kept&... kept) {
  return std::invoke(std::move(target), hand_over<P>(kept)...);
}

}  // namespace procession::detail
