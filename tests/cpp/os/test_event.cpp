// SPDX-License-Identifier: Apache-2.0
#include "os/event.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <thread>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/futex.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"

namespace procession::os {
namespace {

using Event = tests::LeavesNothing;
using base::Deadline;
using base::Waited;

TEST_F(Event, StaysRungUntilItIsAnswered) {
  Fd event = create_event();
  EXPECT_EQ(wait_readable(event.get(), Deadline::now()), Waited::kTimedOut);
  answer(event);  // never blocks
  ring(event);
  ring(event);
  EXPECT_EQ(wait_readable(event.get(), Deadline::now()), Waited::kReady);
  EXPECT_EQ(wait_readable(event.get(), Deadline::now()), Waited::kReady);
  answer(event);
  EXPECT_EQ(wait_readable(event.get(), Deadline::now()), Waited::kTimedOut);
}

TEST_F(Event, IsHeardInAnotherProcess) {
  Fd event = create_event();
  pid_t pid = fork_process();
  if (pid == 0) {
    ring(event);
    ::_exit(0);
  }
  EXPECT_EQ(wait_readable(event.get(), Deadline::never()), Waited::kReady);
  end_child(pid);
}

TEST_F(Event, AWaitSetTellsWhoRang) {
  Fd one = create_event();
  Fd two = create_event();
  WaitSet set;
  std::vector<std::uint64_t> ready{9};
  set.add(one.get(), 1);
  set.add(two.get(), 2);
  EXPECT_EQ(set.wait(Deadline::now(), ready), Waited::kTimedOut);
  EXPECT_TRUE(ready.empty());
  ring(two);
  EXPECT_EQ(set.wait(Deadline::never(), ready), Waited::kReady);
  EXPECT_EQ(ready, (std::vector<std::uint64_t>{2}));
  ring(one);
  EXPECT_EQ(set.wait(Deadline::never(), ready), Waited::kReady);
  EXPECT_EQ(ready.size(), 2u);
  set.remove(two.get());
  set.remove(two.get());
  EXPECT_EQ(set.wait(Deadline::never(), ready), Waited::kReady);
  EXPECT_EQ(ready, (std::vector<std::uint64_t>{1}));
}

TEST_F(Event, RingsEndOneWaitAndNeedNoAnswer) {
  Fd event = create_event();
  Fd other = create_event();
  WaitSet set;
  std::vector<std::uint64_t> ready;
  set.add_event(event);
  set.add(other.get(), 1);
  EXPECT_EQ(set.wait(Deadline::now(), ready), Waited::kTimedOut);
  for (int i = 0; i < 3; ++i) {
    ring(event);
    ring(event);
    EXPECT_EQ(set.wait(Deadline::never(), ready), Waited::kReady);
    EXPECT_TRUE(ready.empty());
    EXPECT_EQ(set.wait(Deadline::now(), ready), Waited::kTimedOut);
  }
  ring(event);
  ring(other);
  EXPECT_EQ(set.wait(Deadline::never(), ready), Waited::kReady);
  EXPECT_EQ(ready, (std::vector<std::uint64_t>{1}));
  std::thread rings([&] { ring(event); });
  answer(other);
  EXPECT_EQ(set.wait(Deadline::never(), ready), Waited::kReady);
  EXPECT_TRUE(ready.empty());
  rings.join();
}

TEST_F(Event, AWaitSetHearsOfADeath) {
  pid_t pid = fork_process();
  if (pid == 0) ::_exit(0);
  Fd pidfd = open_pidfd(pid);
  WaitSet set;
  std::vector<std::uint64_t> ready;
  set.add(pidfd.get(), 77);
  EXPECT_EQ(set.wait(Deadline::never(), ready), Waited::kReady);
  EXPECT_EQ(ready, (std::vector<std::uint64_t>{77}));
  EXPECT_EQ(try_reap(pidfd), ExitStatus{});
}

TEST_F(Event, AWaitSetKeepsItsDeadline) {
  WaitSet set;
  std::vector<std::uint64_t> ready;
  Deadline deadline = Deadline::after(std::chrono::milliseconds(5));
  EXPECT_EQ(set.wait(deadline, ready), Waited::kTimedOut);
  EXPECT_TRUE(deadline.passed());
}

TEST_F(Event, AFutexWaitsOnlyWhileTheWordIsAsExpected) {
  FutexWord word{3};
  EXPECT_EQ(futex_wait(word, 4, Deadline::never()), Waited::kReady);
  EXPECT_EQ(futex_wait(word, 3, Deadline::after(std::chrono::milliseconds(5))), Waited::kTimedOut);
  std::thread thread([&] {
    word = 4;
    futex_wake(word, 1);
  });
  while (word == 3) futex_wait(word, 3, Deadline::never());
  thread.join();
}

TEST_F(Event, AFutexIsHeardInAnotherProcess) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* word = new (page) FutexWord(0);
  pid_t pid = fork_process();
  if (pid == 0) {
    ::alarm(100);
    while (*word == 0) futex_wait(*word, 0, Deadline::never());
    *word = 2;
    futex_wake(*word, 1);
    ::_exit(0);
  }
  *word = 1;
  futex_wake(*word, 1);
  while (*word != 2) futex_wait(*word, 1, Deadline::never());
  end_child(pid);
  ::munmap(page, 4096);
}

}  // namespace
}  // namespace procession::os
