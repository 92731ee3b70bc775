// SPDX-License-Identifier: Apache-2.0
// shm/pipe_blocks: blocks of the arena on their way beside a pipe's stream, which carries their numbers.
//
// A sender hands a block over and sends its number; who receives the number takes the block. What was never
// received goes with the last reference to the pipe's cell. SIGKILL of either side on any line hurts nobody.
// Several processes may send and receive at either end. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "shm/commons.hpp"

namespace procession::shm {

class PipeBlocks {
 public:
  static constexpr int kMost = 6;  // blocks on their way at a time, in each direction
  // Bytes on their way, in each direction, unless all of them were handed over at once.
  static constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;

  PipeBlocks();  // of a new pipe. OsError (ENOMEM)
  explicit PipeBlocks(const CellName& name, bool arrives = false);  // see Cell::keep_until_found
  ~PipeBlocks() = default;
  PipeBlocks(const PipeBlocks&) = delete;
  PipeBlocks& operator=(const PipeBlocks&) = delete;

  const std::shared_ptr<Cell>& cell() const noexcept { return cell_; }

  // What is read at an end, 0 or 1, by somebody who knows of blocks: who doesn't can't be sent any. Bits
  // whose meaning is the front door's.
  void announce_reader(int end, std::uint32_t what) noexcept;
  bool has_reader(int end, std::uint32_t what) const noexcept;

  // From that end. The blocks, which this process holds, are the session's then; their numbers are to be
  // sent. None, and all is as it was, if too much is on its way.
  std::vector<std::uint64_t> hand_over(int end, std::span<const Block> blocks);

  // The number won't be sent: the block is released.
  void take_back(int end, std::uint64_t number) noexcept;

  // By whoever received the number, which was sent from that end: the block is this process's from now on.
  // std::runtime_error if there is no such block.
  Block take(int end, std::uint64_t number);

 private:
  struct Slot;
  struct Lane;
  struct Record;

  Record& record() const noexcept;
  Lane& lane(int end) const noexcept;
  void repair();
  static void settle(Arena& arena, CellHeader& header, Ticket dead);
  static void end(Arena& arena, CellHeader& header);
  static const bool kRegistered;

  std::shared_ptr<Cell> cell_;
};

}  // namespace procession::shm
