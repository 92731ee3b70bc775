// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/descendants.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"

namespace procession::os {
namespace {

// Every process of a tree holds `alive`'s write end, and tells of itself by a byte; each ends by itself
// when the test closes `leave`'s.
class Descendants : public tests::LeavesNothing {
 protected:
  void open() {
    ASSERT_EQ(::pipe2(alive_.data(), O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(leave_.data(), O_CLOEXEC), 0);
  }

  void let_go() { ::close(std::exchange(alive_[1], -1)); }

  void close() {
    ::close(leave_[1]);
    ::close(leave_[0]);
    ::close(alive_[0]);
  }

  // Starts a process that runs `body` and stays.
  template <class Body>
  pid_t begin(Body body) {
    pid_t pid = fork_process();
    if (pid == 0) {
      ::close(leave_[1]);
      body();
      stay();
    }
    return pid;
  }

  [[noreturn]] void stay() {
    char byte = 0;
    [[maybe_unused]] auto told = ::write(alive_[1], &byte, 1);
    while (::read(leave_[0], &byte, 1) < 0) {
    }
    ::_exit(0);
  }

  void is_told(int times) {
    char byte = 0;
    for (int i = 0; i < times; ++i) ASSERT_EQ(::read(alive_[0], &byte, 1), 1);
  }

  // Whether a process is left that holds the write end.
  bool is_one_left() {
    std::array<char, 64> bytes;
    ::fcntl(alive_[0], F_SETFL, O_NONBLOCK);
    while (true) {
      ssize_t size = ::read(alive_[0], bytes.data(), bytes.size());
      if (size <= 0) return size < 0;
    }
  }

  static void wait_for(const Fd& pidfd) {
    while (wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
    }
  }

 private:
  std::array<int, 2> alive_{};
  std::array<int, 2> leave_{};
};

TEST_F(Descendants, NoneIsMissedWhileMoreAreMade) {
  for (int round = 0; round < 60; ++round) {
    open();
    pid_t root = begin([&] {
      for (int i = 0; i < 40; ++i) {
        if (fork_process() != 0) continue;
        if (i % 2) fork_process();  // each of the two stays
        stay();
      }
    });
    let_go();
    is_told(1 + round % 20);
    Fd pidfd = open_pidfd(root);
    for (const Descendant& each : signal_tree(root, pidfd, kTerminate)) wait_for(each.pidfd);
    wait_for(pidfd);
    EXPECT_EQ(try_reap(pidfd), (ExitStatus{0, kTerminate}));
    EXPECT_FALSE(is_one_left()) << "in round " << round;
    close();
  }
}

TEST_F(Descendants, WhoHandlesASignalGoesOnToDoSo) {
  open();
  pid_t root = begin([&] {
    ::signal(SIGTERM, [](int) { ::_exit(7); });
    if (fork_process() == 0) stay();
  });
  let_go();
  is_told(2);
  Fd pidfd = open_pidfd(root);
  std::vector<Descendant> found = signal_tree(root, pidfd, kTerminate);
  ASSERT_EQ(found.size(), 1u);
  wait_for(found[0].pidfd);
  wait_for(pidfd);
  EXPECT_EQ(try_reap(pidfd), (ExitStatus{7, 0}));
  EXPECT_FALSE(is_one_left());
  close();
}

TEST_F(Descendants, WhoWasStoppedIsKilled) {
  open();
  pid_t root = begin([&] {
    if (fork_process() == 0) ::raise(SIGSTOP);
  });
  let_go();
  is_told(1);
  Fd pidfd = open_pidfd(root);
  send_signal(pidfd, SIGSTOP);
  std::vector<Descendant> found = signal_tree(root, pidfd, kKill);
  ASSERT_EQ(found.size(), 1u);
  wait_for(found[0].pidfd);
  wait_for(pidfd);
  EXPECT_EQ(try_reap(pidfd), (ExitStatus{0, kKill}));
  EXPECT_FALSE(is_one_left());
  close();
}

TEST_F(Descendants, OneThatHasEndedHasNone) {
  pid_t root = fork_process();
  if (root == 0) ::_exit(3);
  Fd pidfd = open_pidfd(root);
  wait_for(pidfd);
  EXPECT_TRUE(signal_tree(root, pidfd, kTerminate).empty());
  EXPECT_EQ(try_reap(pidfd), (ExitStatus{3, 0}));
}

}  // namespace
}  // namespace procession::os
