// SPDX-License-Identifier: Apache-2.0
// api/bytes: what is behind the public Outgoing and Incoming.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/session_blocks.hpp"
#include "api/task_bytes.hpp"
#include "channel/message.hpp"
#include "channel/payload.hpp"
#include "procession/detail/bytes.hpp"

namespace procession::detail {

struct Outgoing::State {
  void be_for_task(api::TaskWriter& of_task) noexcept {
    task = &of_task;
    takes_descriptors = false;
  }

  channel::PayloadWriter writer;
  std::vector<int> fds;             // borrowed
  api::TaskWriter* task = nullptr;  // if set, it goes there instead
  bool takes_descriptors = true;
  std::unique_ptr<api::TaskWriter> own_task;  // of a message through a connection
  // What of the session's memory travels is to be there when it arrives. If set, the owner of this
  // sees to that as long as it lasts; else it stays until the session ends.
  std::vector<std::shared_ptr<const void>>* held = nullptr;
};

struct Incoming::State {
  State(channel::Payload payload, std::vector<os::Fd> descriptors)
      : reader(std::move(payload)), rest(reader.bytes()), fds(std::move(descriptors)) {}

  // Of a task's bytes, which are to be shown.
  State() = default;

  // Has it read these, in pieces as api::cut makes them; valid as long as they are.
  void show(base::BytesView payload, std::span<const base::BytesView> contents) {
    next_piece = 0;
    pieces.clear();
    rest = payload;
    if (!contents.empty()) cut(contents);
  }

  void cut(std::span<const base::BytesView> contents);

  // The next `size` bytes, which were written in one piece.
  base::BytesView take(std::uint64_t size);
  void read(std::span<std::byte> to);
  std::string text();

  channel::PayloadReader reader;
  base::BytesView rest;                 // what has not been read of this piece
  std::vector<base::BytesView> pieces;  // of a task: all of them, from `next_piece` on to be read
  std::size_t next_piece = 0;
  std::vector<os::Fd> fds;
  std::size_t next_fd = 0;
  api::HeldBlocks blocks;  // that pieces are in
};

}  // namespace procession::detail
