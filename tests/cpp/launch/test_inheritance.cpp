// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <sstream>

#include "children.hpp"
#include "launch/session.hpp"
#include "os/clone.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

namespace procession::launch {
namespace {

class Inherits : public EachMethod {};
PROCESSION_ON_EACH_METHOD(Inherits);

std::vector<int> numbers(const std::string& text) {
  std::istringstream in(text);
  std::vector<int> found{std::istream_iterator<int>(in), {}};
  std::sort(found.begin(), found.end());
  return found;
}

TEST_P(Inherits, NoStrayDescriptor) {
  if (method() == "fork") GTEST_SKIP() << "a copy of the parent has the parent's";
  os::Fd stray(::open("/dev/null", O_RDONLY));  // not close-on-exec
  for (int i = 0; i < 3; ++i) {                 // the second by forkserver is a spare
    auto [ours, theirs] = os::packet_pair();
    Child child = start("fds", {theirs.get()});
    // Input, output, errors, the line to the parent, the parent's pidfd, the session's memory (two),
    // what was sent along.
    EXPECT_EQ(numbers(hear(ours)).size(), 8U);
    EXPECT_EQ(end_of(child).value(), 0);
  }
}

TEST_P(Inherits, NoDescriptorOfAnEarlierChild) {
  // As long as a child of ours holds the end of another's socket, that one can't see our death.
  Child first = start("wait");
  auto [ours, theirs] = os::packet_pair();
  Child second = start("fds", {theirs.get()});
  std::vector<int> open = numbers(hear(ours));
  EXPECT_EQ(end_of(second).value(), 0);
  if (method() == "fork") {
    EXPECT_EQ(std::count(open.begin(), open.end(), first.sentinel()), 0);
  }
  first.send_signal(SIGKILL);
  end_of(first);
}

TEST_P(Inherits, OutputOfTheMoment) {
  // The zygote has the output that was there when it was made.
  Child before = start("exit 0");
  end_of(before);
  auto [ours, theirs] = os::packet_pair();
  os::Fd saved = os::duplicate(2);
  os::replace_fd(theirs.get(), 2);
  Child child = start("wait");
  os::replace_fd(saved.get(), 2);
  child.send_signal(SIGKILL);
  end_of(child);
  theirs.reset();
  EXPECT_EQ(hear(ours), "") << "the child was the last to have it";
}

TEST_P(Inherits, NoBlockedSignals) {
  if (method() == "fork") GTEST_SKIP() << "a copy of the thread that forks has its mask";
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  Child child = start("signal " + std::to_string(SIGTERM));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(end_of(child).value(), -SIGTERM);
}

TEST_P(Inherits, AForkOfSomebodyElseHasNoneOfOurChildren) {
  Child child = start("wait");
  pid_t copy = os::fork_process();
  if (copy == 0) {
    bool emptied = child.sentinel() < 0 && !child.try_wait() && !child.send_signal(SIGKILL);
    Child own = start("exit 5");  // and can start its own
    bool started = end_of(own).value() == 5;
    Session::instance().end_idle();
    os::exit_now(emptied && started ? 0 : 1);
  }
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(copy), &info, WEXITED);
  EXPECT_EQ(info.si_status, 0);
  EXPECT_EQ(child.try_wait(), std::nullopt) << "ours is unharmed";
  child.send_signal(SIGKILL);
  end_of(child);
}

}  // namespace
}  // namespace procession::launch
