// SPDX-License-Identifier: Apache-2.0
// launch/children: a front door for tests: a payload is a line that says what the child does.
//
//   exit N      ends with N              signal N    ends itself by the signal
//   wait        until somebody ends it   talk        fds[0] gets what follows the line, then ends
//   fds         fds[0] gets the child's open descriptors
//   fail TEXT   reports TEXT as its failure, ends with 1
//   nest M      starts a child of its own by method M, which talks to fds[0]
#pragma once

#include <string>

#include "channel/message.hpp"
#include "launch/child.hpp"
#include "launch/spawn.hpp"
#include "leftovers.hpp"

namespace procession::launch {

Executable this_program();
channel::Payload payload_of(const std::string& text);

// The life of a program that was executed to be a child or a zygote.
[[noreturn]] void live_as_test_child();

// Starts a child by the start method named.
Child start_child(const std::string& method, const std::string& line,
                  const std::vector<int>& fds = {});

// How it ended, after waiting for that.
os::ExitStatus end_of(Child& child);

// What somebody sends on a socket; empty once nobody can.
std::string hear(const os::Fd& socket);

// The pid of this process's zygote, or 0.
pid_t zygote_pid();

// A test that is run on each start method.
class EachMethod : public tests::LeavesNothing, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override;
  void settle() override;

  std::string method() const { return GetParam(); }
  Child start(const std::string& line, const std::vector<int>& fds = {}) const {
    return start_child(method(), line, fds);
  }
};

}  // namespace procession::launch

#define PROCESSION_ON_EACH_METHOD(suite)                                              \
  INSTANTIATE_TEST_SUITE_P(, suite, ::testing::Values("fork", "spawn", "forkserver"), \
                           [](const auto& test) { return std::string(test.param); })
