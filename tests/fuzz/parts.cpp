// SPDX-License-Identifier: Apache-2.0
// channel/parts: parts that are read as they were written; and of memory that anybody has written to, parts
// that lie in it, or none.
#include "channel/parts.hpp"

#include <algorithm>
#include <vector>

#include "base/check.hpp"
#include "input.hpp"

namespace procession::fuzz {

namespace {

using channel::Part;

void check_written(std::span<std::byte> memory, const std::vector<Part>& parts) {
  auto found = channel::read_parts(memory);
  PROCESSION_CHECK(found && found->size() == parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    base::Bytes whole;
    for (base::BytesView piece : parts[i].pieces)
      whole.insert(whole.end(), piece.begin(), piece.end());
    PROCESSION_CHECK(std::ranges::equal((*found)[i], whole));
  }
}

void check_read(std::span<std::byte> memory) {
  auto found = channel::read_parts(memory);
  if (!found) return;
  for (std::span<std::byte> part : *found) {
    for (std::byte& byte : part) byte = static_cast<std::byte>(static_cast<int>(byte) + 1);
    PROCESSION_CHECK(part.data() >= memory.data() &&
                     part.data() + part.size() <= memory.data() + memory.size());
  }
}

}  // namespace

void fuzz(Input input) {
  std::vector<base::Bytes> contents;
  for (std::size_t i = input.below(12); i > 0; --i) {
    contents.emplace_back(input.number<std::uint8_t>(), std::byte(i));
  }
  std::vector<Part> parts;
  for (std::size_t i = 0; i < contents.size(); i += 1 + input.below(3)) {
    Part part;
    for (std::size_t j = 0; j < 3 && i + j < contents.size(); ++j) part.pieces[j] = contents[i + j];
    parts.push_back(part);
  }
  base::Bytes memory(channel::room_for(parts) + input.below(100));
  channel::write_parts(memory, parts);
  check_written(memory, parts);
  while (!input.empty()) {
    corrupt(input, memory);
    base::Bytes copy(memory.begin(), memory.end() - static_cast<std::ptrdiff_t>(
                                                        std::min(memory.size(), input.below(200))));
    check_read(copy);
  }
}

}  // namespace procession::fuzz
