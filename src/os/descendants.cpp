// SPDX-License-Identifier: Apache-2.0
#include "os/descendants.hpp"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>

namespace procession::os {

namespace {

// 0 if it is gone.
pid_t parent_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  std::size_t at = line.rfind(')');  // the name before it may have any characters
  if (at == std::string::npos || at + 4 >= line.size()) return 0;
  return static_cast<pid_t>(std::atol(line.c_str() + at + 4));
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> found;
  std::string folder = "/proc/" + std::to_string(pid) + "/task";
  std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir(folder.c_str()), &::closedir);
  if (!tasks) return found;
  while (dirent* entry = ::readdir(tasks.get())) {
    if (entry->d_name[0] == '.') continue;
    std::ifstream file(folder + "/" + entry->d_name + "/children");
    for (pid_t child = 0; file >> child;) found.push_back(child);
  }
  return found;
}

}  // namespace

std::vector<Descendant> descendants_of(pid_t pid) {
  std::vector<Descendant> found;
  for (std::size_t i = 0;; ++i) {
    for (pid_t child : children_of(pid)) {
      Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
      // The number may meanwhile belong to somebody else; what the descriptor means can't change.
      if (pidfd.valid() && parent_of(child) == pid) found.push_back({child, std::move(pidfd)});
    }
    if (i == found.size()) return found;
    pid = found[i].pid;
  }
}

}  // namespace procession::os
