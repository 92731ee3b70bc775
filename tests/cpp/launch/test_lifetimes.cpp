// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "children.hpp"
#include "launch/session.hpp"
#include "os/clone.hpp"
#include "os/poll.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

namespace procession::launch {
namespace {

class Lifetimes : public EachMethod {};
PROCESSION_ON_EACH_METHOD(Lifetimes);

void wait_for_end(const os::Fd& pidfd) {
  while (os::wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
  }
}

// Three children of a parent that then dies by SIGKILL, and where there is one, its zygote.
TEST_P(Lifetimes, NoChildOutlivesAKilledParent) {
  auto [ours, theirs] = os::packet_pair();
  bool before = os::become_subreaper(true);  // so that the orphans are ours to reap
  pid_t parent = os::fork_process();
  if (parent == 0) {
    ours.reset();
    std::vector<Child> children;
    std::vector<pid_t> pids;
    for (int i = 0; i < 3; ++i) children.push_back(start("wait"));
    for (const Child& child : children) pids.push_back(child.pid());
    if (method() == "forkserver") pids.push_back(zygote_pid());
    os::send_packet(theirs, std::as_bytes(std::span(pids)), {}, {});
    while (true) ::pause();
  }
  theirs.reset();
  os::Packet packet;
  ASSERT_EQ(os::receive_packet(ours, packet, true), os::Received::kPacket);
  std::vector<pid_t> pids(packet.bytes.size() / sizeof(pid_t));
  std::memcpy(pids.data(), packet.bytes.data(), packet.bytes.size());
  std::vector<os::Fd> pidfds;
  for (pid_t pid : pids) pidfds.push_back(os::open_pidfd(pid));
  ::kill(parent, SIGKILL);
  for (const os::Fd& pidfd : pidfds) wait_for_end(pidfd);
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
  os::become_subreaper(before);
}

TEST_P(Lifetimes, TheEndOfTheStartingThreadIsNotTheEndOfTheChild) {
  // PR_SET_PDEATHSIG would have it otherwise.
  std::optional<Child> child;
  std::thread([&] { child = start("wait"); }).join();
  Child other = start("exit 0");
  end_of(other);
  EXPECT_EQ(child->try_wait(), std::nullopt);
  child->send_signal(SIGKILL);
  EXPECT_EQ(end_of(*child).value(), -SIGKILL);
}

TEST_P(Lifetimes, StoppingTheZygoteLeavesItsChildrenAlone) {
  Child child = start("wait");
  Session::instance().end_idle();
  EXPECT_EQ(child.try_wait(), std::nullopt);
  child.send_signal(SIGTERM);
  EXPECT_EQ(end_of(child).value(), -SIGTERM);
}

TEST_P(Lifetimes, AStatusThatSomebodyElseCollectedIsLostNotWaitedFor) {
  Child child = start("exit 0");
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED);
  EXPECT_EQ(end_of(child), os::kStatusLost);
}

}  // namespace
}  // namespace procession::launch
