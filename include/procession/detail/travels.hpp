// SPDX-License-Identifier: Apache-2.0
// detail/travels: whether a type can go to another process, known at compile time and in full depth.
//
// cereal's own traits look at the outermost type only; what lies below would be an error deep within
// cereal. This looks into containers, smart pointers, tuples and aggregates.
#pragma once

#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <variant>

#include "procession/detail/archive.hpp"

namespace procession::detail {

template <class T, class... Seen>
consteval bool travels();

template <template <class...> class Template, class T>
constexpr bool kIsA = false;
template <template <class...> class Template, class... Arguments>
constexpr bool kIsA<Template, Template<Arguments...>> = true;

// Of std::tuple, std::pair and std::variant: each of the types that it is made of.
template <class T, class... Seen>
struct PartsTravel;
template <template <class...> class Template, class... Parts, class... Seen>
struct PartsTravel<Template<Parts...>, Seen...> {
  static constexpr bool kValue = (travels<std::remove_const_t<Parts>, Seen...>() && ...);
};

// Where encode() rather than cereal meets a value, it may be a function, too.
template <class T, class... Seen>
consteval bool travels_as_field() {
  return kIsFunctionPointer<T> || travels<T, Seen...>();
}

template <class T, class... Seen>
consteval bool fields_travel() {
  return []<std::size_t... Index>(std::index_sequence<Index...>) {
    return (travels_as_field<boost::pfr::tuple_element_t<Index, T>, Seen...>() && ...);
  }
  (std::make_index_sequence<boost::pfr::tuple_size_v<T>>());
}

// Its own business what it writes.
// NOLINTBEGIN(misc-redundant-expression): three traits, which are alike to the analyser
template <class T>
constexpr bool kHasOwnMembers = cereal::traits::has_member_serialize<T, Encoder>::value ||
                                cereal::traits::has_member_save<T, Encoder>::value ||
                                cereal::traits::has_member_save_minimal<T, Encoder>::value;
// NOLINTEND(misc-redundant-expression)

template <class T>
concept Container = std::ranges::range<T> && requires {
  typename T::value_type;
};

// What is inside of a type that cereal accepts as such.
template <class T, class... Seen>
consteval bool inside_travels() {
  if constexpr (kHasOwnMembers<T>) {
    return true;
  } else if constexpr (kIsA<std::tuple, T> || kIsA<std::pair, T> || kIsA<std::variant, T>) {
    return PartsTravel<T, Seen..., T>::kValue;
  } else if constexpr (kIsA<std::unique_ptr, T> || kIsA<std::shared_ptr, T> ||
                       kIsA<std::weak_ptr, T>) {
    // A base class may itself not be made: cereal finds what was registered for it.
    using Element = typename T::element_type;
    return std::is_polymorphic_v<Element> || travels<Element, Seen..., T>();
  } else if constexpr (kIsA<std::optional, T> || Container<T>) {
    return travels<std::remove_cv_t<typename T::value_type>, Seen..., T>();
  } else if constexpr (PlainAggregate<T>) {
    return fields_travel<T, Seen..., T>();
  } else {
    return true;
  }
}

// True if Encoder and Decoder take a T. `Seen` are the types that it was found in: one that contains
// itself, as a tree does, is asked once.
template <class T, class... Seen>
consteval bool travels() {
  if constexpr ((std::is_same_v<T, Seen> || ...)) {
    return true;
  } else if constexpr (std::is_pointer_v<T> || std::is_reference_v<T> || std::is_array_v<T> ||
                       std::is_const_v<T>) {
    return false;
  } else if constexpr (cereal::traits::is_output_serializable<T, Encoder>::value &&
                       cereal::traits::is_input_serializable<T, Decoder>::value) {
    return inside_travels<T, Seen...>();
  } else {
    return false;
  }
}

}  // namespace procession::detail
