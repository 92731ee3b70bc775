// SPDX-License-Identifier: Apache-2.0
#include "shm/pipe_blocks.hpp"

#include <array>
#include <atomic>
#include <stdexcept>

#include "os/robust_mutex.hpp"

namespace procession::shm {

namespace {

// Of a number, whose rest is the block's offset.
constexpr std::uint64_t kSlotMask = Arena::kUnit - 1;

}  // namespace

// Of a block on its way. Whoever moves it in or out is noted for that moment.
struct PipeBlocks::Slot {
  std::uint64_t offset;  // 0: free
  std::uint64_t size;
  std::atomic<Ticket> mover;
  std::uint32_t unused;
};

struct PipeBlocks::Lane {  // from one end to the other
  std::atomic<std::uint32_t> readers;
  std::uint32_t unused;
  std::array<Slot, kMost> slots;
};

struct PipeBlocks::Record {
  std::array<Lane, 2> lanes;  // by the end that sends
};

static_assert(PipeBlocks::kMost <= kSlotMask);

PipeBlocks::Record& PipeBlocks::record() const noexcept { return cell_->as<Record>(); }

PipeBlocks::Lane& PipeBlocks::lane(int end) const noexcept {
  return record().lanes[end == 0 ? 0 : 1];
}

const bool PipeBlocks::kRegistered = (Commons::on_end(CellKind::kPipe, &end, &settle), true);

PipeBlocks::PipeBlocks()
    : cell_(Commons::instance().make_cell(CellKind::kPipe, CellHeader::kRoomFor<Record>)) {}

PipeBlocks::PipeBlocks(const CellName& name, bool arrives)
    : cell_(Commons::instance().find_cell(name, CellKind::kPipe, arrives)) {}

void PipeBlocks::announce_reader(int end, std::uint32_t what) noexcept {
  lane(1 - end).readers.fetch_or(what, std::memory_order_relaxed);
}

bool PipeBlocks::has_reader(int end, std::uint32_t what) const noexcept {
  return (lane(1 - end).readers.load(std::memory_order_relaxed) & what) != 0;
}

std::vector<std::uint64_t> PipeBlocks::hand_over(int end, std::span<const Block> blocks) {
  Commons& commons = cell_->commons();
  os::RobustLock lock(cell_->header().mutex);
  repair();
  std::array<Slot, kMost>& slots = lane(end).slots;
  std::uint64_t bytes = 0;
  std::size_t free = 0;
  for (const Slot& slot : slots) {
    bytes += slot.offset ? slot.size : 0;
    free += slot.offset ? 0 : 1;
  }
  std::uint64_t more = 0;
  for (Block block : blocks) more += block.size;
  if (free < blocks.size() || (bytes > 0 && bytes + more > kMostBytes)) return {};
  std::vector<std::uint64_t> numbers;
  numbers.reserve(blocks.size());
  for (std::size_t at = 0; numbers.size() < blocks.size(); ++at) {
    Slot& slot = slots[at];
    if (slot.offset) continue;
    Block block = blocks[numbers.size()];
    slot.size = block.size;
    slot.mover.store(commons.ticket(), std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    slot.offset = block.offset;
    commons.hand_over(block, Commons::kSession);
    numbers.push_back(block.offset | at);
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  // All at once: a part of a message is of no use.
  for (Slot& slot : slots) slot.mover.store(0, std::memory_order_release);
  return numbers;
}

void PipeBlocks::take_back(int end, std::uint64_t number) noexcept {
  try {
    cell_->commons().release(take(end, number).offset);
  } catch (const std::exception&) {  // it is there no more
  }
}

Block PipeBlocks::take(int end, std::uint64_t number) {
  Commons& commons = cell_->commons();
  os::RobustLock lock(cell_->header().mutex);
  repair();
  std::uint64_t index = number & kSlotMask;
  std::uint64_t offset = number & ~kSlotMask;
  if (index >= kMost || offset == 0 || lane(end).slots[index].offset != offset) {
    throw std::runtime_error("procession: there is no such block on its way through this pipe");
  }
  Slot& slot = lane(end).slots[index];
  Block block{offset, slot.size};
  slot.mover.store(commons.ticket(), std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  commons.take_over(block);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  slot.offset = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  slot.mover.store(0, std::memory_order_release);
  return block;
}

// Under the mutex: whoever moves something then, has been killed.
void PipeBlocks::repair() {
  for (Lane& lane : record().lanes) {
    for (Slot& slot : lane.slots) {
      if (Ticket dead = slot.mover.load(std::memory_order_acquire)) {
        cell_->commons().settle(*cell_, dead, &settle);
      }
    }
  }
}

// The number of what the dead one moved is known to nobody any more.
void PipeBlocks::settle(Arena& arena, CellHeader& header, Ticket dead) {
  for (Lane& lane : header.content<Record>().lanes) {
    for (Slot& slot : lane.slots) {
      if (slot.mover.load(std::memory_order_acquire) != dead) continue;
      Commons::give_to(dead, arena, slot.offset);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      slot.offset = 0;
      slot.mover.store(0, std::memory_order_release);
    }
  }
}

// The end of the pipe: what nobody has received goes with it.
void PipeBlocks::end(Arena& arena, CellHeader& header) {
  for (Lane& lane : header.content<Record>().lanes) {
    for (Slot& slot : lane.slots) {
      arena.drop(slot.offset, Commons::kSession);
    }
  }
}

}  // namespace procession::shm
