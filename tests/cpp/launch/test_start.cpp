// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "children.hpp"
#include "launch/session.hpp"
#include "os/poll.hpp"
#include "os/socket.hpp"

namespace procession::launch {
namespace {

class Starts : public EachMethod {};
PROCESSION_ON_EACH_METHOD(Starts);

TEST_P(Starts, ExitCodesComeBack) {
  for (int code : {0, 1, 42, 255}) {
    Child child = start("exit " + std::to_string(code));
    EXPECT_EQ(end_of(child), (os::ExitStatus{code, 0}));
  }
}

TEST_P(Starts, SignalsComeBack) {
  for (int signal : {SIGTERM, SIGKILL, SIGINT}) {
    Child child = start("signal " + std::to_string(signal));
    EXPECT_EQ(end_of(child).value(), -signal);
  }
}

TEST_P(Starts, AChildRunsUntilItIsEnded) {
  Child child = start("wait");
  EXPECT_EQ(child.try_wait(), std::nullopt);
  EXPECT_EQ(child.wait_until(base::Deadline::now()), base::Waited::kTimedOut);
  EXPECT_EQ(::kill(child.pid(), 0), 0);
  EXPECT_TRUE(child.send_signal(SIGTERM));
  EXPECT_EQ(end_of(child).value(), -SIGTERM);
  EXPECT_FALSE(child.send_signal(SIGTERM)) << "it has been reaped";
}

TEST_P(Starts, TheSentinelTellsTheEnd) {
  Child child = start("exit 3");
  while (os::wait_readable(child.sentinel(), base::Deadline::never()) != base::Waited::kReady) {
  }
  EXPECT_EQ(child.try_wait(), (os::ExitStatus{3, 0}));
}

TEST_P(Starts, AFailureIsReportedOnceItHasEnded) {
  Child child = start("fail of some kind");
  EXPECT_EQ(end_of(child).value(), 1);
  auto failure = child.take_failure();
  ASSERT_TRUE(failure);
  channel::PayloadReader reader(std::move(*failure));
  EXPECT_EQ(base::as_text(reader.bytes()), "of some kind");
  EXPECT_FALSE(child.take_failure()) << "once";
}

TEST_P(Starts, ALargeFailureIsReported) {
  std::string text(300'000, 'f');
  Child child = start("fail " + text);
  end_of(child);
  channel::PayloadReader reader(std::move(child.take_failure().value()));
  EXPECT_EQ(base::as_text(reader.bytes()), text);
}

TEST_P(Starts, PayloadsOfEverySize) {
  for (std::size_t size : {0, 1, 16 * 1024, 64 * 1024 + 1, 20 * 1024 * 1024}) {
    auto [ours, theirs] = os::packet_pair();
    std::string text = "\n" + std::string(size, 'p');
    Child child = start("talk" + text, {theirs.get()});
    theirs.reset();
    EXPECT_EQ(hear(ours), text) << size;
    EXPECT_EQ(end_of(child).value(), 0);
  }
}

TEST_P(Starts, MoreDescriptorsThanAPacketHolds) {
  auto [ours, theirs] = os::packet_pair();
  std::vector<int> fds(300, theirs.get());
  Child child = start("talk\nhello", fds);
  theirs.reset();
  EXPECT_EQ(hear(ours), "\nhello");
  EXPECT_EQ(end_of(child).value(), 0);
  EXPECT_EQ(hear(ours), "") << "nobody has the other end any more";
}

TEST_P(Starts, AChildStartsChildrenByEveryMethod) {
  for (const char* nested : {"fork", "spawn", "forkserver"}) {
    auto [ours, theirs] = os::packet_pair();
    Child child = start(std::string("nest ") + nested, {theirs.get()});
    theirs.reset();
    EXPECT_EQ(hear(ours), "\ngrandchild") << nested;
    EXPECT_EQ(end_of(child).value(), 0) << nested;
  }
}

TEST_P(Starts, SeveralThreadsAtOnce) {
  if (tests::kSanitized && method() == "fork") GTEST_SKIP() << "not supported by the sanitizers";
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 10; ++i) {
        int code = thread * 10 + i;
        Child child = start("exit " + std::to_string(code));
        if (end_of(child) != os::ExitStatus{code, 0}) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(Starts, ADroppedChildIsReapedByALaterStart) {
  pid_t pid = 0;
  {
    Child child = start("wait");
    pid = child.pid();
  }
  EXPECT_EQ(::kill(pid, SIGKILL), 0) << "it goes on";
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  Child next = start("exit 0");
  end_of(next);
  EXPECT_EQ(::kill(pid, 0), -1);
}

}  // namespace
}  // namespace procession::launch
