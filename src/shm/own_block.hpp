// SPDX-License-Identifier: Apache-2.0
// shm/own_block: a block of the session's arena that this process holds, released at the end of its scope
// unless it is somebody else's by then.
#pragma once

#include "shm/commons.hpp"

namespace procession::shm {

class OwnBlock {
 public:
  OwnBlock(Commons& commons, Block block) noexcept : commons_(commons), block_(block) {}
  ~OwnBlock() {
    if (is_ours_) commons_.release(block_.offset);
  }
  OwnBlock(const OwnBlock&) = delete;
  OwnBlock& operator=(const OwnBlock&) = delete;

  Block get() const noexcept { return block_; }
  void let_go() noexcept { is_ours_ = false; }

 private:
  Commons& commons_;
  const Block block_;
  bool is_ours_ = true;
};

}  // namespace procession::shm
