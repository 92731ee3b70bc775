// SPDX-License-Identifier: Apache-2.0
// os/cpu: how many CPUs this process may use, and what the calling thread is.
#pragma once

#include <cstdint>

namespace procession::os {

// The CPUs of the affinity mask, bounded by the cgroup's quota (v2 cpu.max, v1 cfs_quota_us),
// rounded up; at least 1.
int usable_cpus();

// The CPUs of this thread's affinity mask alone, which costs one system call; at least 1.
int affine_cpus();

// The CPU that this thread runs on, at the moment.
int current_cpu() noexcept;

// Has this thread go on on another CPU that it may use, if there is one. The kernel may move it back.
void move_to_another_cpu() noexcept;

// Lets others that are ready to run on this CPU go first.
void yield() noexcept;

// What no two live threads of a process share. (The address of something thread_local would take a call.)
inline std::uintptr_t this_thread() noexcept {
  return reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
}

// Has a cache line fetched that is soon to be written.
inline void prefetch_to_write(const void* line) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0"
               :
               : "m"(*static_cast<const char*>(line)));  // a CPU without it does nothing
#else
  __builtin_prefetch(line, 1);
#endif
}

// Tells the CPU that this is a loop that waits.
inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

}  // namespace procession::os
