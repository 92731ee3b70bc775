// SPDX-License-Identifier: Apache-2.0
// shm/forks: processes of a test of the session's memory. A watchdog stands over each.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <new>
#include <thread>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "shm/commons.hpp"

namespace procession::shm {

inline Commons& commons() { return Commons::instance(); }

// Proves that nothing of the session's memory is left either.
class CommonsTest : public tests::LeavesNothing {
 protected:
  void SetUp() override {
    LeavesNothing::SetUp();
    before_ = Commons::instance().usage();
  }
  void TearDown() override {
    Commons::Usage after = Commons::instance().usage();
    EXPECT_EQ(after.cells, before_.cells) << "cells are left";
    EXPECT_EQ(after.processes, before_.processes) << "places are left";
    EXPECT_EQ(after.arena.in_use, before_.arena.in_use) << "blocks are left";
    LeavesNothing::TearDown();
  }

 private:
  Commons::Usage before_;
};

// Runs `body` in a fork. Its exit code is 0 unless an exception or a failed expectation ended it.
template <class Body>
pid_t in_child(Body body) {
  pid_t pid = os::fork_process();
  if (pid != 0) return pid;
  ::alarm(100);
  int code = 1;
  try {
    body();
    code = ::testing::Test::HasFailure() ? 2 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "in the child: %s\n", error.what());
  }
  ::_exit(code);
}

inline int wait_for(pid_t pid) {
  int status = -1;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

inline void kill_and_wait(pid_t pid) {
  ::kill(pid, SIGKILL);
  int status = wait_for(pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

[[noreturn]] inline void sleep_for_ever() {
  while (true) ::pause();
}

// A T that forks share.
template <class T>
class InCommon {
 public:
  InCommon()
      : value_(new (::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                           -1, 0)) T) {}
  ~InCommon() { ::munmap(value_, sizeof(T)); }
  InCommon(const InCommon&) = delete;
  InCommon& operator=(const InCommon&) = delete;

  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

 private:
  T* value_;
};

template <class Number>
void await(const std::atomic<Number>& word, Number least) {
  while (word.load() < least) std::this_thread::yield();
}

}  // namespace procession::shm
