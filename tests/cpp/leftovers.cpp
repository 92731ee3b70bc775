// SPDX-License-Identifier: Apache-2.0
#include "leftovers.hpp"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <string_view>
#include <thread>

namespace procession::tests {

const bool kSanitized = !std::string_view(PROCESSION_SANITIZERS).empty();
const bool kThreadSanitized = std::string_view(PROCESSION_SANITIZERS) == "thread";

Belongings Belongings::now() {
  namespace fs = std::filesystem;
  Belongings found;
  // First: a thread that is gone has closed what it had.
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/task")) {
    ++found.threads;
  }
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;  // the iterator's own descriptor is, by the time it is looked at again
    fs::path target = fs::read_symlink(entry.path(), gone);
    if (gone || target.string().ends_with("/fd")) continue;
    found.fds[std::stoi(entry.path().filename())] = target;
  }
  // The memory that processes of a session have in common: there once, and from then on.
  for (std::string_view memory :
       {"/memfd:procession-session (", "/memfd:procession-session-arena ("}) {
    auto one = std::ranges::find_if(found.fds,
                                    [&](const auto& fd) { return fd.second.starts_with(memory); });
    if (one != found.fds.end()) found.fds.erase(one);
  }
  siginfo_t info{};
  found.has_children =
      ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
  return found;
}

Belongings Belongings::once_threads_ended(int threads) {
  Belongings found = now();
  // A joined thread is still to be seen for a moment; a watchdog stands over one that is not joined.
  for (int tries = 0; found.threads > threads && tries < 10'000; ++tries) {
    ::sched_yield();
    found = now();
  }
  return found;
}

void LeavesNothing::SetUp() {
  static std::once_flag
      once;  // with a program's first thread ThreadSanitizer starts one of its own
  std::call_once(once, [] { std::thread([] {}).join(); });
  settle();
  before_ = Belongings::now();
}

void LeavesNothing::TearDown() {
  settle();
  Belongings after = Belongings::once_threads_ended(before_.threads);
  EXPECT_FALSE(after.has_children) << "a child is left";
  EXPECT_EQ(after.fds, before_.fds) << "descriptors are left";
  EXPECT_LE(after.threads, before_.threads) << "threads are left";
}

}  // namespace procession::tests
