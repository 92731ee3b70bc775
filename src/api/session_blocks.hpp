// SPDX-License-Identifier: Apache-2.0
// api/session_blocks: blocks of the session's arena, in which large parts of the messages of queues and
// connections lie. Thread-safe.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "api/task_bytes.hpp"

namespace procession::api {

BlockSource& session_blocks();

// That this process holds: released at the end, unless they are somebody else's by then.
class HeldBlocks {
 public:
  HeldBlocks() = default;
  explicit HeldBlocks(std::vector<shm::Block> blocks) noexcept : blocks_(std::move(blocks)) {}
  ~HeldBlocks();
  HeldBlocks(HeldBlocks&& other) noexcept : blocks_(std::exchange(other.blocks_, {})) {}
  HeldBlocks& operator=(HeldBlocks&& other) noexcept;
  HeldBlocks(const HeldBlocks&) = delete;
  HeldBlocks& operator=(const HeldBlocks&) = delete;

  void add(shm::Block block);
  // A new one with that content, ahead of the others. OsError (ENOMEM)
  void put_first(base::BytesView content);
  std::span<const shm::Block> get() const noexcept { return blocks_; }
  std::vector<base::BytesView> contents() const;  // std::runtime_error if there is no such block
  void are_handed_over() noexcept { blocks_.clear(); }

 private:
  std::vector<shm::Block> blocks_;
};

}  // namespace procession::api
