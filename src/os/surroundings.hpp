// SPDX-License-Identifier: Apache-2.0
// os/surroundings: environment, working directory and umask, taken in a parent and applied in a child.
//
// A process started by a zygote would otherwise see those of the moment when the zygote was made.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "os/fd.hpp"

namespace procession::os {

struct Surroundings {
  std::string env;  // "NAME=value" strings, each ended by a NUL
  std::string cwd;  // empty if the working directory has no path any more
  mode_t umask = 0;
};

// Where the process that opened it reads what it has no system call for. For one with a start after
// the other: to open the file each time takes as long as to read it.
class OwnStatus {
 public:
  OwnStatus() = default;  // of nobody
  static OwnStatus open();

  bool valid() const noexcept { return file_.valid(); }
  mode_t umask() const;  // without setting it, unless /proc can't tell

 private:
  Fd file_;
};

// Of the calling process, now. The environment must not be changed by another thread meanwhile.
Surroundings current_surroundings(const OwnStatus& status);
Surroundings current_surroundings();

// Makes them the calling process's own; what is the same already is left alone. OsError if the
// directory can't be entered. Returns whether the environment was changed.
bool apply(const Surroundings& wanted);

// As an exec takes it.
std::vector<std::string> env_strings(const Surroundings& surroundings);

}  // namespace procession::os
