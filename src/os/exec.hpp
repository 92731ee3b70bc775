// SPDX-License-Identifier: Apache-2.0
// os/exec: starts a program as a child (posix_spawn: its cost doesn't grow with the parent).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "os/fd.hpp"

namespace procession::os {

struct Program {
  std::string path;               // no search along PATH
  std::vector<std::string> argv;  // argv[0] included
  std::vector<std::string> env;   // "NAME=value"
  bool silent = false;            // output and errors to /dev/null, not where this process's go
};

// The descriptor as which a started program finds the one socket that it was given.
inline constexpr int kInheritedSocket = 3;

// Starts `program` with stdin from /dev/null, this process's stdout and stderr unless silent,
// `socket` as kInheritedSocket and no other descriptor; no signal blocked. OsError if it can't be executed.
pid_t spawn_program(const Program& program, const Fd& socket);

}  // namespace procession::os
