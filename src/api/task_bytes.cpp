// SPDX-License-Identifier: Apache-2.0
#include "api/task_bytes.hpp"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "pool/board.hpp"

namespace procession::api {

void TaskWriter::append(base::BytesView piece) {
  if (piece.size() <= pool::kLargestInline) {
    bytes_.insert(bytes_.end(), piece.begin(), piece.end());
    return;
  }
  positions_.reserve(positions_.size() + 1);
  blocks_.reserve(blocks_.size() + 1);
  blocks_.push_back(source_->put(piece));
  positions_.push_back(bytes_.size());
}

void TaskWriter::append_positions() {
  auto table = std::as_bytes(std::span(positions_));
  bytes_.insert(bytes_.end(), table.begin(), table.end());
  positions_.clear();
}

std::vector<shm::Block> TaskWriter::take_blocks() noexcept { return std::exchange(blocks_, {}); }

void TaskWriter::drop_blocks() noexcept {
  for (shm::Block block : blocks_) source_->drop(block);
  blocks_.clear();
}

void cut(base::BytesView payload, std::span<const base::BytesView> blocks,
         std::vector<base::BytesView>& pieces) {
  pieces.clear();
  if (blocks.size() > payload.size() / sizeof(std::uint64_t)) {
    throw std::runtime_error("procession: a task's bytes end early");
  }
  base::BytesView table = payload.last(blocks.size() * sizeof(std::uint64_t));
  payload = payload.first(payload.size() - table.size());
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    std::uint64_t position = 0;
    std::memcpy(&position, table.data() + i * sizeof position, sizeof position);
    if (position < done || position > payload.size()) {
      throw std::runtime_error("procession: a task's bytes are torn");
    }
    pieces.push_back(payload.subspan(done, position - done));
    pieces.push_back(blocks[i]);
    done = position;
  }
  pieces.push_back(payload.subspan(done));
}

}  // namespace procession::api
