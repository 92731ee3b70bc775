// SPDX-License-Identifier: Apache-2.0
// What is left of a program's children when it has ended, in each of the ways to end.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"

namespace procession::tests {
namespace {

struct Ended {
  int status = 0;
  std::string output;
};

// Everything that the program and its children wrote: up to the end of the last of them, since each
// has the other end of the pipe.
Ended run(const std::string& method, const std::string& way) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  pid_t pid = os::fork_process();
  if (pid == 0) {
    ::dup2(ends[1], 1);
    ::dup2(ends[1], 2);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execl(ENDING_PROGRAM, "ending_program", method.c_str(), way.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  Ended ended;
  char buffer[4096];
  for (ssize_t size; (size = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    ended.output.append(buffer, static_cast<std::size_t>(size));
  }
  ::close(ends[0]);
  ::waitpid(pid, &ended.status, 0);
  return ended;
}

// The pids that it printed, its own first.
std::vector<pid_t> pids_of(const Ended& ended) {
  std::vector<pid_t> pids;
  std::istringstream lines(ended.output);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.find_first_not_of("0123456789") == std::string::npos) {
      pids.push_back(std::stoi(line));
    }
  }
  return pids;
}

class ProgramEnd : public LeavesNothing, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    LeavesNothing::SetUp();
    before_ = os::become_subreaper(true);  // what is left becomes this process's
  }
  void TearDown() override {
    while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
    os::become_subreaper(before_);
    LeavesNothing::TearDown();
  }

  Ended run(const char* way) { return tests::run(GetParam(), way); }

 private:
  bool before_ = false;
};

INSTANTIATE_TEST_SUITE_P(, ProgramEnd, ::testing::Values("fork", "spawn", "forkserver"),
                         [](const auto& test) { return std::string(test.param); });

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++found;
  return found;
}

TEST_P(ProgramEnd, DaemonsAreTerminatedAndOthersJoined) {
  for (const char* way : {"return", "exit"}) {
    Ended ended = run(way);
    EXPECT_EQ(WEXITSTATUS(ended.status), 5) << ended.output;
    EXPECT_EQ(count(ended.output, "ended by itself"), 1U) << ended.output;
    std::vector<pid_t> pids = pids_of(ended);
    ASSERT_EQ(pids.size(), 3U) << ended.output;
    for (pid_t pid : pids) EXPECT_EQ(::kill(pid, 0), -1) << "it had been reaped";
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "and nothing else was left";
    EXPECT_EQ(count(ended.output, "static destructor"), 1U) << ended.output;
    EXPECT_EQ(count(ended.output, "static destructor of " + std::to_string(pids[0])), 1U);
  }
}

TEST_P(ProgramEnd, APoolWorksInStaticDestructors) {
  Ended ended = run("late");
  EXPECT_EQ(WEXITSTATUS(ended.status), 4) << ended.output;
  EXPECT_EQ(count(ended.output, "right are 130 of 130"), 1U) << ended.output;
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "nothing was left";
}

TEST_P(ProgramEnd, AStubbornDaemonIsKilled) {
  Ended ended = run("stubborn");
  EXPECT_EQ(WEXITSTATUS(ended.status), 7) << ended.output;
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "nothing was left";
}

TEST_P(ProgramEnd, NothingOutlivesAViolentOne) {
  for (const char* way : {"kill", "abort", "throw", "_exit"}) {
    Ended ended = run(way);  // returns, since nobody has its output any more
    EXPECT_EQ(pids_of(ended).size(), 3U) << ended.output;
    EXPECT_EQ(count(ended.output, "static destructor"), 0U) << ended.output;
  }
}

}  // namespace
}  // namespace procession::tests
