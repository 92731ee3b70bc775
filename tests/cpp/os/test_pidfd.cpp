// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"

namespace procession::os {
namespace {

using Pidfd = tests::LeavesNothing;

template <class Body>
Fd child(Body body) {
  pid_t pid = fork_process();
  if (pid == 0) {
    body();
    ::_exit(0);
  }
  return open_pidfd(pid);
}

void wait_for(const Fd& pidfd) {
  while (wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
  }
}

TEST_F(Pidfd, NothingIsReapedWhileItRuns) {
  Fd pidfd = child([] { ::pause(); });
  EXPECT_EQ(wait_readable(pidfd.get(), base::Deadline::now()), base::Waited::kTimedOut);
  EXPECT_EQ(try_reap(pidfd), std::nullopt);
  EXPECT_TRUE(send_signal(pidfd, SIGKILL));
  wait_for(pidfd);
  EXPECT_EQ(try_reap(pidfd), (ExitStatus{0, SIGKILL}));
  EXPECT_FALSE(send_signal(pidfd, SIGKILL));
}

TEST_F(Pidfd, AStatusThatSomebodyElseTookIsLost) {
  Fd pidfd = child([] {});
  EXPECT_GT(::waitpid(-1, nullptr, 0), 0);
  EXPECT_EQ(try_reap(pidfd), kStatusLost);
}

TEST_F(Pidfd, AnIgnoredSigchldLosesTheStatus) {
  auto before = ::signal(SIGCHLD, SIG_IGN);
  Fd pidfd = child([] { ::pause(); });
  send_signal(pidfd, SIGKILL);
  wait_for(pidfd);
  EXPECT_EQ(try_reap(pidfd), kStatusLost);
  ::signal(SIGCHLD, before);
}

TEST_F(Pidfd, EndChildNeedsNoDescriptor) {
  pid_t pid = fork_process();
  if (pid == 0) {
    while (true) ::pause();
  }
  end_child(pid);
}

}  // namespace
}  // namespace procession::os
