// SPDX-License-Identifier: Apache-2.0
// shm/shared_bytes: plain memory that processes share: small pieces in the cell, large ones in a block
// of the arena that goes with it. Zero at first. Who may write when is the user's business.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "shm/commons.hpp"

namespace procession::shm {

class SharedBytes {
 public:
  static constexpr std::size_t kAlignment = 64;

  explicit SharedBytes(std::size_t size);  // OsError (ENOMEM)
  explicit SharedBytes(const CellName& name);

  const std::shared_ptr<Cell>& cell() const noexcept { return cell_; }

  // Valid as long as the cell is.
  std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  struct Record;

  static void end(Arena& arena, CellHeader& header);
  static const bool kRegistered;

  std::shared_ptr<Cell> cell_;
  std::span<std::byte> bytes_;
};

}  // namespace procession::shm
