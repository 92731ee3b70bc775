// SPDX-License-Identifier: Apache-2.0
// os/proc: what /proc tells of processes.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace procession::os {

// Threads of this process, or -1 where /proc can't tell. Allocates nothing.
int thread_count() noexcept;

// The parent of a process; 0 if there is no such process or /proc can't tell. Allocates nothing.
pid_t parent_of(pid_t pid) noexcept;

// What a thread does, by its letter in proc(5): 'R' runs, 'T' is stopped and so on. '\0' if there is no such
// thread or /proc can't tell. Allocates nothing.
char state_of(pid_t thread) noexcept;

// When a process began, in clock ticks since the machine did: with its pid, what no other process
// ever has. 0 if there is no such process or /proc can't tell. Allocates nothing.
std::uint64_t start_time(pid_t pid) noexcept;

// Whether the process runs a program: one that is ending has no memory any more, nor has one whose main
// thread has ended before the others. Allocates nothing.
bool runs_program(pid_t pid) noexcept;

// Whether the process that had this pid and began then has ended, all of its threads. Waits up to
// `patience_ms` for one that is about to.
bool has_ended(pid_t pid, std::uint64_t began, int patience_ms) noexcept;

}  // namespace procession::os
