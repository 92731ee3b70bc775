// SPDX-License-Identifier: Apache-2.0
// bindings/arena_buffer: a block of the arena as a Python buffer, which arrays are views of.
#pragma once

#include <nanobind/nanobind.h>

#include <functional>
#include <memory>
#include <span>

namespace procession::bindings {

// The memory of a block, and what is to be done when its last view is gone.
struct ArenaBuffer {
  std::span<std::byte> bytes;
  std::function<void()> release;

  ArenaBuffer(std::span<std::byte> content, std::function<void()> on_release)
      : bytes(content), release(std::move(on_release)) {}
  ArenaBuffer(const ArenaBuffer&) = delete;
  ArenaBuffer& operator=(const ArenaBuffer&) = delete;
  ~ArenaBuffer() {
    if (release) release();
  }
};

void bind_arena_buffer(nanobind::module_& module);

}  // namespace procession::bindings
