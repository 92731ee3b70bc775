// SPDX-License-Identifier: Apache-2.0
// api/task_bytes: the bytes of a task's arguments, or of its result, on their way through a pool.
//
//   payload = what was written in small pieces   u64 position × blocks
//
// A piece above pool::kLargestInline goes straight into a block of the arena, so that it is copied
// once on the way in and once on the way out; its position says ahead of which byte of the payload
// it belongs. Both sides. Not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.hpp"
#include "pool/board.hpp"
#include "shm/arena.hpp"

namespace procession::api {

// Where the blocks come from, and go if they are not needed after all.
class BlockSource {
 public:
  virtual shm::Block put(base::BytesView bytes) = 0;
  virtual void drop(shm::Block block) noexcept = 0;

 protected:
  ~BlockSource() = default;
};

class TaskWriter {
 public:
  TaskWriter() = default;
  ~TaskWriter() { clear(); }
  TaskWriter(const TaskWriter&) = delete;
  TaskWriter& operator=(const TaskWriter&) = delete;

  void begin(BlockSource& source) noexcept { source_ = &source; }
  void append(base::BytesView piece);

  // The payload, complete; the blocks are to be taken, too.
  const base::Bytes& payload() {
    if (!positions_.empty()) append_positions();
    return bytes_;
  }
  std::vector<shm::Block> take_blocks() noexcept;
  bool is_empty() const noexcept { return bytes_.empty() && blocks_.empty(); }
  // Whether it is one small payload.
  bool is_small() const noexcept {
    return blocks_.empty() && bytes_.size() <= pool::kLargestInline;
  }

  // Lets go of everything, but keeps a buffer of ordinary size for the next time.
  void clear() noexcept {
    if (!blocks_.empty()) drop_blocks();
    positions_.clear();
    if (bytes_.capacity() > pool::kLargestInline) bytes_ = {};
    bytes_.clear();
  }

 private:
  void append_positions();
  void drop_blocks() noexcept;

  BlockSource* source_ = nullptr;
  base::Bytes bytes_;
  std::vector<std::uint64_t> positions_;
  std::vector<shm::Block> blocks_;
};

// Cuts a payload into what TaskWriter was given, in order: the pieces are the blocks' contents.
// std::runtime_error if it is torn.
void cut(base::BytesView payload, std::span<const base::BytesView> blocks,
         std::vector<base::BytesView>& pieces);

}  // namespace procession::api
