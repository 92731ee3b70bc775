// SPDX-License-Identifier: Apache-2.0
// channel/parts: several pieces of bytes in one piece of memory that is shared.
//
//   memory = u32 mark   u32 count   u64 size × count     each part follows at a multiple of 64 bytes
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.hpp"

namespace procession::channel {

// One to be written, in the pieces that it is put together from.
struct Part {
  std::array<base::BytesView, 3> pieces;

  std::size_t size() const noexcept {
    return pieces[0].size() + pieces[1].size() + pieces[2].size();
  }
};

std::size_t room_for(std::span<const Part> parts) noexcept;  // bytes

// Into memory of that size, and aligned to 64 bytes.
void write_parts(std::span<std::byte> memory, std::span<const Part> parts);

// Where they lie. Nothing if this isn't what was written: anybody may write over it.
std::optional<std::vector<std::span<std::byte>>> read_parts(std::span<std::byte> memory);

}  // namespace procession::channel
