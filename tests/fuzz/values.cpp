// SPDX-License-Identifier: Apache-2.0
// The C++ front door's values: bytes that are read as a type that they were never written as. A value
// comes of it, which can be written again, or std::runtime_error; and no more memory than that is worth.
#include <array>
#include <bitset>
#include <chrono>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

#include "api/bytes.hpp"
#include "base/check.hpp"
#include "input.hpp"
#include "procession/detail/archive.hpp"

namespace procession::fuzz {

namespace {

using detail::Incoming;
using detail::Outgoing;

enum class Colour : std::uint8_t { kRed, kGreen };

struct Aggregate {
  int number = 0;
  bool is_set = false;
  Colour colour = Colour::kRed;
  std::string text;
  std::array<double, 3> numbers{};
};

struct WithArchive {
  std::map<std::string, std::vector<Aggregate>> entries;
  std::chrono::milliseconds duration{};

  template <class Archive>
  void serialize(Archive& archive) {
    archive(entries, duration);
  }
};

// Not std::valarray: cereal looks at the first number of an empty one.
using Types =
    std::tuple<Aggregate, WithArchive, bool, std::string, std::vector<bool>, std::vector<double>,
               std::vector<std::vector<int>>, std::list<Aggregate>, std::deque<std::string>,
               std::optional<bool>, std::variant<int, std::string, bool>,
               std::tuple<bool, std::u16string>, std::unordered_map<int, std::string>,
               std::set<std::pair<int, bool>>, std::multimap<std::string, int>, std::bitset<77>,
               std::shared_ptr<Aggregate>, std::unique_ptr<WithArchive>,
               std::vector<std::shared_ptr<std::string>>, std::priority_queue<int>,
               std::array<bool, 5>,
               std::vector<std::optional<std::variant<bool, std::vector<std::string>>>>>;

template <class T>
void read_as(Incoming& in) {
  detail::Decoder decoder(in);
  T value = detail::decode<T>(decoder);
  Outgoing out;
  detail::Encoder encoder(out);
  detail::encode(encoder, value);
}

template <std::size_t... index>
void read_as(std::size_t which, Incoming& in, std::index_sequence<index...>) {
  ((which == index ? read_as<std::tuple_element_t<index, Types>>(in) : void()), ...);
}

}  // namespace

// As pools and queues hand them on: large pieces in blocks, at positions that end the payload.
void fuzz(Input input) {
  constexpr std::size_t kTypes = std::tuple_size_v<Types>;
  std::size_t which = input.below(kTypes);
  std::vector<base::Bytes> blocks(input.below(4));
  std::vector<base::BytesView> views;
  for (base::Bytes& block : blocks) {
    base::BytesView piece = input.bytes(input.number<std::uint8_t>());
    block.assign(piece.begin(), piece.end());
    views.emplace_back(block);
  }
  base::BytesView rest = input.rest();
  base::Bytes payload(rest.begin(), rest.end());
  try {
    Incoming in(std::make_unique<Incoming::State>());
    in.state().show(payload, views);
    read_as(which, in, std::make_index_sequence<kTypes>());
  } catch (const std::runtime_error&) {
  } catch (const std::invalid_argument&) {  // a bitset's digits
  }
}

}  // namespace procession::fuzz
