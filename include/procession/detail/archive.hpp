// SPDX-License-Identifier: Apache-2.0
// detail/archive: how a C++ value becomes bytes: cereal, and Boost.PFR for plain aggregates.
//
// Encoder and Decoder are cereal archives: whatever has cereal's serialize, save/load and so on
// works, and so do aggregates of such, at any depth. `travels<T>()` says whether a type does.
#pragma once

#include <boost/pfr.hpp>
#include <cereal/archives/binary.hpp>
#include <cereal/cereal.hpp>
#include <concepts>
#include <type_traits>
#include <utility>

#include "procession/detail/bytes.hpp"
#include "procession/detail/cereal_types.hpp"

namespace procession::detail {

class Encoder : public cereal::OutputArchive<Encoder> {
 public:
  explicit Encoder(Outgoing& out) : OutputArchive(this), out_(out) {}
  Outgoing& out() noexcept { return out_; }

 private:
  Outgoing& out_;
};

class Decoder : public cereal::InputArchive<Decoder> {
 public:
  explicit Decoder(Incoming& in) : InputArchive(this), in_(in) {}
  Incoming& in() noexcept { return in_; }

 private:
  Incoming& in_;
};

template <class T>
constexpr bool kIsFunctionPointer =
    std::is_pointer_v<T>&& std::is_function_v<std::remove_pointer_t<T>>;

// cereal knows nothing of how to serialise it, and its fields can be named: asked of another
// archive than ours, since ours would answer with the overloads below.
template <class T>
concept PlainAggregate = std::is_class_v<T> && std::is_aggregate_v<T> &&
    !cereal::traits::is_output_serializable<T, cereal::BinaryOutputArchive>::value;

template <class T>
void encode(Encoder& encoder, const T& value) {
  if constexpr (kIsFunctionPointer<T>) {
    encoder.out().function(reinterpret_cast<AnyFunction>(value));
  } else {
    encoder(value);
  }
}

template <class T>
void decode_into(Decoder& decoder, T& value) {
  if constexpr (kIsFunctionPointer<T>) {
    value = reinterpret_cast<T>(decoder.in().function());
  } else {
    decoder(value);
  }
}

template <class T>
T decode(Decoder& decoder) {
  T value{};
  decode_into(decoder, value);
  return value;
}

// Of `size` bytes that came as values of type T. Any are a number, but only two are a bool.
template <class T>
void make_valid(void* values, std::size_t size) {
  if constexpr (std::is_same_v<T, bool>) {
    for (auto* byte = static_cast<unsigned char*>(values); size > 0; --size, ++byte) {
      *byte = *byte != 0 ? 1 : 0;
    }
  }
}

template <class T>
void read_plain(Incoming& in, void* to, std::size_t size) {
  in.read(to, size);
  make_valid<T>(to, size);
}

// What cereal asks of every binary archive: numbers, names, sizes and blocks.
template <class T>
requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(Encoder& encoder, const T& value) {
  encoder.out().write(&value, sizeof value);
}
template <class T>
requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(Decoder& decoder, T& value) {
  read_plain<T>(decoder.in(), &value, sizeof value);
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(Encoder& encoder, const cereal::NameValuePair<T>& pair) {
  encoder(pair.value);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(Decoder& decoder, cereal::NameValuePair<T>& pair) {
  decoder(pair.value);
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(Encoder& encoder, const cereal::SizeTag<T>& tag) {
  encoder(tag.size);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(Decoder& decoder, cereal::SizeTag<T>& tag) {
  decoder(tag.size);
  decoder.in().expect(tag.size);  // before there is memory for so many
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(Encoder& encoder, const cereal::BinaryData<T>& block) {
  encoder.out().write(block.data, static_cast<std::size_t>(block.size));
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(Decoder& decoder, cereal::BinaryData<T>& block) {
  using Value = std::remove_pointer_t<std::remove_reference_t<T>>;
  read_plain<Value>(decoder.in(), block.data, static_cast<std::size_t>(block.size));
}

// Aggregates, field by field.
template <PlainAggregate T>
void CEREAL_SAVE_FUNCTION_NAME(Encoder& encoder, const T& value) {
  boost::pfr::for_each_field(value, [&](const auto& field) { encode(encoder, field); });
}
template <PlainAggregate T>
void CEREAL_LOAD_FUNCTION_NAME(Decoder& decoder, T& value) {
  boost::pfr::for_each_field(value, [&](auto& field) { decode_into(decoder, field); });
}

}  // namespace procession::detail

CEREAL_REGISTER_ARCHIVE(procession::detail::Encoder)
CEREAL_REGISTER_ARCHIVE(procession::detail::Decoder)
CEREAL_SETUP_ARCHIVE_TRAITS(procession::detail::Decoder, procession::detail::Encoder)

#include "procession/detail/travels.hpp"
