// SPDX-License-Identifier: Apache-2.0
// os/pidfd: a process by descriptor: no number that could meanwhile belong to somebody else.
//
// A pidfd becomes readable when its process has exited. See pidfd_open(2), waitid(2).
#pragma once

#include <sys/types.h>

#include <optional>

#include "os/fd.hpp"

namespace procession::os {

// How a process ended: `exit_code` for exit(3), `signal` > 0 for death by a signal.
struct ExitStatus {
  int exit_code = 0;
  int signal = 0;

  // As Python's `exitcode`: the code, or minus the signal's number.
  int value() const noexcept { return signal ? -signal : exit_code; }
  bool operator==(const ExitStatus&) const = default;
};

// What a process and those of its children that it waited for have used, as getrusage(2) has it.
struct Usage {
  double user_seconds = 0;
  double system_seconds = 0;
  long max_rss_kib = 0;
  long minor_faults = 0;
  long major_faults = 0;
  long blocks_in = 0;
  long blocks_out = 0;
  long voluntary_switches = 0;
  long involuntary_switches = 0;
};

struct Exit {
  ExitStatus status;
  Usage usage;
};

// What is reported for a child whose status somebody else has collected (a waitpid(-1) in the
// program, or an ignored SIGCHLD).
inline constexpr ExitStatus kStatusLost{255, 0};

// SIGTERM and SIGKILL.
extern const int kTerminate;
extern const int kKill;

// `pid` must be a child that has not been reaped, or the process itself.
Fd open_pidfd(pid_t pid);

// The status of our child, reaping it, or nothing while it runs. Never blocks.
std::optional<ExitStatus> try_reap(const Fd& pidfd);

// The same without reaping it: another call will.
std::optional<ExitStatus> peek_status(const Fd& pidfd);
std::optional<Exit> peek_exit(const Fd& pidfd);

// Kills a child of this process that has not been reaped, and reaps it. Needs no descriptor.
void end_child(pid_t pid) noexcept;

// Returns false if the process is gone already.
bool send_signal(const Fd& pidfd, int signal);

// The same, and false also if it has become somebody whom this process may not signal.
bool try_signal(const Fd& pidfd, int signal) noexcept;

}  // namespace procession::os
