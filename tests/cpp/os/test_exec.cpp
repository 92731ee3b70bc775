// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/error.hpp"
#include "leftovers.hpp"
#include "os/exec.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"
#include "os/socket.hpp"

namespace procession::os {
namespace {

using Exec = tests::LeavesNothing;

ExitStatus run_shell(const std::string& script, const std::vector<std::string>& env = {}) {
  auto [ours, theirs] = packet_pair();
  Fd pidfd = open_pidfd(spawn_program({"/bin/sh", {"sh", "-c", script}, env}, theirs));
  while (wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
  }
  return try_reap(pidfd).value_or(kStatusLost);
}

TEST_F(Exec, ExitCodesAndSignals) {
  EXPECT_EQ(run_shell("exit 0"), (ExitStatus{0, 0}));
  EXPECT_EQ(run_shell("exit 42"), (ExitStatus{42, 0}));
  EXPECT_EQ(run_shell("kill -TERM $$"), (ExitStatus{0, SIGTERM}));
  EXPECT_EQ(run_shell("kill -TERM $$").value(), -SIGTERM);
}

TEST_F(Exec, TheEnvironmentIsTheOneGiven) {
  EXPECT_EQ(run_shell("test \"$ANSWER\" = 42", {"ANSWER=42"}), (ExitStatus{0, 0}));
  EXPECT_EQ(run_shell("test -z \"$HOME\"", {"ANSWER=42"}), (ExitStatus{0, 0}));
}

TEST_F(Exec, NothingIsInheritedButTheSocketAndTheOutput) {
  Fd stray(::open("/dev/null", O_RDONLY));  // not close-on-exec, as a careless library leaves it
  // The shell's own descriptor of the folder is in it, too, and closed by the time of the test.
  EXPECT_EQ(run_shell("for f in /proc/$$/fd/*; do case $f in */[0-3]) ;; *) "
                      "if [ -e $f ]; then exit 1; fi ;; esac; done"),
            (ExitStatus{0, 0}));
}

TEST_F(Exec, NoSignalIsBlocked) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  ExitStatus status = run_shell("exec grep -q '^SigBlk:.0000000000000000' /proc/self/status");
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(status, (ExitStatus{0, 0}));
}

TEST_F(Exec, AProgramThatIsNotThereIsAnErrorThatNamesIt) {
  auto [ours, theirs] = packet_pair();
  try {
    spawn_program({"/no/such/program", {"program"}, {}}, theirs);
    FAIL() << "no error";
  } catch (const base::OsError& error) {
    EXPECT_STREQ(error.what(), "execute '/no/such/program': No such file or directory");
  }
}

TEST_F(Exec, TheSocketMayHaveTheInheritedNumberAlready) {
  auto [ours, theirs] = packet_pair();
  Fd socket(::fcntl(theirs.get(), F_DUPFD_CLOEXEC, kInheritedSocket));
  Fd pidfd = open_pidfd(spawn_program({"/bin/sh", {"sh", "-c", "test -S /proc/$$/fd/3"}, {}},
                                      socket.get() == kInheritedSocket ? socket : theirs));
  while (wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
  }
  EXPECT_EQ(try_reap(pidfd), (ExitStatus{0, 0}));
}

}  // namespace
}  // namespace procession::os
