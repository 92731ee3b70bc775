// SPDX-License-Identifier: Apache-2.0
#include "os/descendants.hpp"

#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <ranges>
#include <string>
#include <string_view>

#include "base/deadline.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"

namespace procession::os {

namespace {

constexpr std::chrono::milliseconds kPatience{50};

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> found;
  std::string folder = "/proc/" + std::to_string(pid) + "/task";
  std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir(folder.c_str()), &::closedir);
  if (!tasks) return found;
  while (dirent* entry = ::readdir(tasks.get())) {
    if (entry->d_name[0] != '.') found.push_back(static_cast<pid_t>(std::atol(entry->d_name)));
  }
  return found;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> found;
  std::string folder = "/proc/" + std::to_string(pid) + "/task/";
  for (pid_t thread : threads_of(pid)) {
    std::ifstream file(folder + std::to_string(thread) + "/children");
    for (pid_t child = 0; file >> child;) found.push_back(child);
  }
  return found;
}

// Whether each of its threads is stopped or has ended.
bool is_stopped(pid_t pid) {
  return std::ranges::all_of(threads_of(pid), [](pid_t thread) {
    return std::string_view("TtZXx\0", 6).find(state_of(thread)) != std::string_view::npos;
  });
}

// A thread within fork(2) makes its child before it stops.
void stop(pid_t pid, const Fd& pidfd, base::Deadline deadline) {
  if (!try_signal(pidfd, SIGSTOP)) return;
  while (!is_stopped(pid) && !deadline.passed()) ::usleep(20);
}

}  // namespace

std::vector<Descendant> signal_tree(pid_t pid, const Fd& pidfd, int signal) {
  std::vector<Descendant> found;
  base::Deadline deadline = base::Deadline::after(kPatience);
  stop(pid, pidfd, deadline);
  for (std::size_t i = 0;; ++i) {
    for (pid_t child : children_of(pid)) {
      Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
      // The number may meanwhile belong to somebody else; what the descriptor means can't change.
      if (!fd.valid() || parent_of(child) != pid) continue;
      stop(child, fd, deadline);
      found.push_back({child, std::move(fd)});
    }
    if (i == found.size()) break;
    pid = found[i].pid;
  }
  try_signal(pidfd, signal);
  for (const Descendant& each : found) try_signal(each.pidfd, signal);
  // Children first: where a parent ends and leaves a stopped one, the kernel may send that a SIGHUP.
  for (const Descendant& each : std::views::reverse(found)) try_signal(each.pidfd, SIGCONT);
  try_signal(pidfd, SIGCONT);
  return found;
}

}  // namespace procession::os
