// SPDX-License-Identifier: Apache-2.0
#include "os/proc.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "os/fd.hpp"

namespace procession::os {

int thread_count() noexcept {
  // The link count of /proc/self/task is the number of threads plus 2 (proc_task_getattr).
  struct stat status {};
  return ::stat("/proc/self/task", &status) == 0 ? static_cast<int>(status.st_nlink) - 2 : -1;
}

namespace {

using Text = std::array<char, 1024>;

// A field of /proc/PID/stat and what follows it, by its number in proc(5), 3 or higher; null if it can't be told.
const char* stat_text(pid_t pid, int number, Text& text) noexcept {
  std::array<char, 32> path;
  std::snprintf(path.data(), path.size(), "/proc/%d/stat", pid);
  Fd file(::open(path.data(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return nullptr;
  ssize_t size = ::read(file.get(), text.data(), text.size() - 1);
  if (size <= 0) return nullptr;
  text[static_cast<std::size_t>(size)] = '\0';
  // The second one, the name, may hold anything, and ends with the last parenthesis.
  const char* field = std::strrchr(text.data(), ')');
  for (int i = 2; field && i < number; ++i) field = std::strchr(field + 1, ' ');
  return field ? field + 1 : nullptr;
}

std::uint64_t stat_field(pid_t pid, int number) noexcept {
  Text text;
  const char* field = stat_text(pid, number, text);
  return field ? std::strtoull(field, nullptr, 10) : 0;
}

}  // namespace

pid_t parent_of(pid_t pid) noexcept { return static_cast<pid_t>(stat_field(pid, 4)); }

char state_of(pid_t thread) noexcept {
  Text text;
  const char* field = stat_text(thread, 3, text);
  return field ? *field : '\0';
}

std::uint64_t start_time(pid_t pid) noexcept { return stat_field(pid, 22); }

bool runs_program(pid_t pid) noexcept { return stat_field(pid, 23) > 0; }  // vsize

bool has_ended(pid_t pid, std::uint64_t began, int patience_ms) noexcept {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return errno == ESRCH;
  std::uint64_t now = start_time(pid);
  if (now != 0 && began != 0 && now != began) return true;
  pollfd entry{pidfd.get(), POLLIN, 0};
  while (true) {
    int ready = ::poll(&entry, 1, patience_ms);
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

}  // namespace procession::os
