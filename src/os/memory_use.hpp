// SPDX-License-Identifier: Apache-2.0
// os/memory_use: how much memory the calling process has, and how often the kernel has ended a process
// for want of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "os/fd.hpp"

namespace procession::os {

// The resident set of the process that made it, as ps(1) shows it: shared memory that it has touched
// counts. Costs 1 us each time.
class ResidentSet {
 public:
  ResidentSet();
  std::uint64_t bytes() const noexcept;  // 0 where /proc can't tell

 private:
  Fd statm_;
};

// Where to read how often the kernel's OOM killer has ended a process: of the calling process's
// cgroup (memory.events, or memory.oom_control of version 1), or of the whole machine (/proc/vmstat).
struct OomCounter {
  std::string path;
  std::uint64_t count = 0;  // as of now
};
OomCounter oom_counter();
inline constexpr const char* kMachinesOomCounter = "/proc/vmstat";

// The counter's value, or nothing if it can't be read.
std::optional<std::uint64_t> read_oom_counter(const std::string& path);

}  // namespace procession::os
