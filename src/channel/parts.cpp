// SPDX-License-Identifier: Apache-2.0
#include "channel/parts.hpp"

#include <cstdint>
#include <cstring>

#include "base/check.hpp"
#include "shm/arena.hpp"

namespace procession::channel {

namespace {

struct Head {
  std::uint32_t mark;
  std::uint32_t count;
};
constexpr std::uint32_t kMark = 0x50495045;
constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t size) { return (size + kAlignment - 1) & ~(kAlignment - 1); }

std::size_t room_for_head(std::size_t count) {
  return aligned(sizeof(Head) + count * sizeof(std::uint64_t));
}

}  // namespace

std::size_t room_for(std::span<const Part> parts) noexcept {
  std::size_t size = room_for_head(parts.size());
  for (const Part& part : parts) size += aligned(part.size());
  return size;
}

void write_parts(std::span<std::byte> memory, std::span<const Part> parts) {
  PROCESSION_CHECK(memory.size() >= room_for(parts));
  Head head{kMark, static_cast<std::uint32_t>(parts.size())};
  std::memcpy(memory.data(), &head, sizeof head);
  std::byte* size_at = memory.data() + sizeof head;
  std::size_t part_at = room_for_head(parts.size());
  for (const Part& part : parts) {
    std::uint64_t size = part.size();
    std::memcpy(size_at, &size, sizeof size);
    size_at += sizeof size;
    std::size_t at = part_at;
    for (base::BytesView piece : part.pieces) {
      if (!piece.empty()) shm::copy(memory.subspan(at), piece);
      at += piece.size();
    }
    part_at += aligned(size);
  }
}

std::optional<std::vector<std::span<std::byte>>> read_parts(std::span<std::byte> memory) {
  Head head{};
  if (memory.size() < sizeof head) return {};
  std::memcpy(&head, memory.data(), sizeof head);
  if (head.mark != kMark) return {};
  if (head.count > (memory.size() - sizeof head) / sizeof(std::uint64_t)) return {};
  std::vector<std::span<std::byte>> parts;
  std::size_t at = room_for_head(head.count);
  for (std::size_t i = 0; i < head.count; ++i) {
    std::uint64_t size = 0;
    std::memcpy(&size, memory.data() + sizeof head + i * sizeof size, sizeof size);
    if (at > memory.size() || size > memory.size() - at) return {};
    parts.push_back(memory.subspan(at, size));
    at += aligned(size);
  }
  return parts;
}

}  // namespace procession::channel
