// SPDX-License-Identifier: Apache-2.0
// pool/stats: what a pool is doing, and has done, at one moment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pool/board.hpp"

namespace procession::pool {

// Tasks that have ended, by how, and workers.
struct Counters {
  std::uint64_t done = 0;    // returned
  std::uint64_t failed = 0;  // raised
  std::uint64_t died = 0;    // with the worker that had begun them
  std::uint64_t broken = 0;  // with the pool
  std::uint64_t cancelled = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t workers_started = 0;
  std::uint64_t workers_died = 0;  // though nobody had told them to end
};

enum class WorkerState : std::uint8_t { kStarting, kIdle, kBusy, kEnding };

struct WorkerStats {
  std::uint32_t place = 0;
  int pid = 0;  // 0 as long as its process is being made
  WorkerState state = WorkerState::kStarting;
  std::uint64_t done = 0;   // tasks
  std::uint64_t ns = 0;     // that they took
  bool has_begun = false;   // one that it hasn't answered yet
  FunctionId function = 0;  // of that one
};

struct Stats {
  Counters counters;
  std::vector<WorkerStats> workers;
  std::uint64_t queued = 0;        // tasks that no worker has begun
  std::uint64_t running = 0;       // tasks that a worker is at
  std::uint64_t arena_in_use = 0;  // bytes
  std::uint64_t arena_mapped = 0;  // bytes of memory that it has, in use or not
};

}  // namespace procession::pool
