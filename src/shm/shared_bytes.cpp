// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_bytes.hpp"

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace procession::shm {

namespace {

constexpr std::size_t kMostInCell = 16 << 10;

}  // namespace

struct alignas(SharedBytes::kAlignment) SharedBytes::Record {
  std::uint64_t size;
  Block block;  // size 0: what there is follows

  std::byte* inside() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
};

const bool SharedBytes::kRegistered = (Commons::on_end(CellKind::kBytes, &end), true);

SharedBytes::SharedBytes(std::size_t size) {
  Commons& commons = Commons::instance();
  bool in_cell = size <= kMostInCell;
  cell_ = commons.make_cell(CellKind::kBytes, CellHeader::kRoomFor<Record> + (in_cell ? size : 0));
  Record& record = cell_->as<Record>();
  if (in_cell) {
    record.size = size;
    bytes_ = {record.inside(), size};
    return;
  }
  Block block = commons.allocate(size);
  bytes_ = commons.bytes(block);
  std::memset(bytes_.data(), 0, size);
  // Killed in between, it is released twice: as the cell's, and as one of this process.
  record.block = block;
  commons.hand_over(block, Commons::kSession);
  record.size = size;
}

SharedBytes::SharedBytes(const CellName& name)
    : cell_(Commons::instance().find_cell(name, CellKind::kBytes)) {
  Record& record = cell_->as<Record>();
  Block block = record.block;
  if (block.size > 0) {
    bytes_ = cell_->commons().bytes(block);
  } else if (record.size <= kMostInCell) {
    bytes_ = {record.inside(), record.size};
  } else {
    throw std::runtime_error("procession: the session's memory is corrupted");
  }
}

void SharedBytes::end(Arena& arena, CellHeader& header) {
  Record& record = header.content<Record>();
  if (record.block.size == 0) return;
  record.block.size = 0;
  try {
    arena.release(record.block.offset);
  } catch (const std::runtime_error&) {  // whoever began this was killed
  }
}

}  // namespace procession::shm
