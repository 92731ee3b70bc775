// SPDX-License-Identifier: Apache-2.0
#include "api/session_blocks.hpp"

#include "api/shared.hpp"
#include "shm/commons.hpp"

namespace procession::api {

namespace {

class Source final : public BlockSource {
 public:
  shm::Block put(base::BytesView bytes) override {
    return with_api_errors("no room for large data", [&] {
      shm::Commons& commons = shm::Commons::instance();
      shm::Block block = commons.allocate(bytes.size());
      shm::copy(commons.bytes(block), bytes);
      return block;
    });
  }
  void drop(shm::Block block) noexcept override { shm::Commons::instance().release(block.offset); }
};

Source source;

}  // namespace

BlockSource& session_blocks() { return source; }

HeldBlocks::~HeldBlocks() {
  for (shm::Block block : blocks_) source.drop(block);
}

HeldBlocks& HeldBlocks::operator=(HeldBlocks&& other) noexcept {
  blocks_.swap(other.blocks_);  // and the other one lets go of them
  return *this;
}

void HeldBlocks::add(shm::Block block) {
  try {
    blocks_.push_back(block);
  } catch (...) {
    source.drop(block);
    throw;
  }
}

void HeldBlocks::put_first(base::BytesView content) {
  blocks_.insert(blocks_.begin(),
                 shm::Block());  // which may throw, before there is a block to lose
  try {
    blocks_.front() = source.put(content);
  } catch (...) {
    blocks_.erase(blocks_.begin());
    throw;
  }
}

std::vector<base::BytesView> HeldBlocks::contents() const {
  std::vector<base::BytesView> contents;
  for (shm::Block block : blocks_) contents.emplace_back(shm::Commons::instance().bytes(block));
  return contents;
}

}  // namespace procession::api
