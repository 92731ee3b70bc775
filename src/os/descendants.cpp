// SPDX-License-Identifier: Apache-2.0
#include "os/descendants.hpp"

#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <ranges>
#include <string>
#include <string_view>

#include "base/deadline.hpp"
#include "base/error.hpp"
#include "os/pidfd.hpp"

namespace procession::os {

namespace {

constexpr std::chrono::milliseconds kPatience{50};

// The folders of its threads in /proc.
std::vector<std::string> threads_of(pid_t pid) {
  std::vector<std::string> found;
  std::string folder = "/proc/" + std::to_string(pid) + "/task";
  std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir(folder.c_str()), &::closedir);
  if (!tasks) return found;
  while (dirent* entry = ::readdir(tasks.get())) {
    if (entry->d_name[0] != '.') found.push_back(folder + "/" + entry->d_name);
  }
  return found;
}

// What `stat` in this folder says after the name, which may have any characters: the state, the parent
// and more, see proc(5). Empty if it is gone.
std::string stat_of(const std::string& folder) {
  std::ifstream file(folder + "/stat");
  std::string text(std::istreambuf_iterator<char>(file), {});
  std::size_t at = text.rfind(')');
  return at == std::string::npos || at + 2 >= text.size() ? "" : text.substr(at + 2);
}

// 0 if it is gone.
pid_t parent_of(pid_t pid) {
  std::string stat = stat_of("/proc/" + std::to_string(pid));
  return stat.empty() ? 0 : static_cast<pid_t>(std::atol(stat.c_str() + 1));
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> found;
  for (const std::string& thread : threads_of(pid)) {
    std::ifstream file(thread + "/children");
    for (pid_t child = 0; file >> child;) found.push_back(child);
  }
  return found;
}

// Sends it where this process may, and says whether there is somebody to have got it.
bool try_signal(const Fd& pidfd, int signal) noexcept {
  try {
    return send_signal(pidfd, signal);
  } catch (const base::OsError&) {  // it has become somebody whom this process may not signal
    return false;
  }
}

// Whether each of its threads is stopped or has ended.
bool is_stopped(pid_t pid) {
  for (const std::string& thread : threads_of(pid)) {
    std::string stat = stat_of(thread);
    if (!stat.empty() && std::string_view("TtZXx").find(stat[0]) == std::string_view::npos) {
      return false;
    }
  }
  return true;
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
