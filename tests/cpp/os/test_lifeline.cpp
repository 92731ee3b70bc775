// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/lifeline.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"
#include "os/socket.hpp"

namespace procession::os {
namespace {

using Lifeline = tests::LeavesNothing;

ExitStatus wait_for(const Fd& pidfd) {
  while (wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
  }
  return try_reap(pidfd).value_or(kStatusLost);
}

// A child that is armed, says so, and does `rest`.
template <class Rest>
Fd armed_child(Fd& ours, Fd theirs, int grace_ms, Rest rest) {
  pid_t pid = fork_process();
  if (pid == 0) {
    ours.reset();
    arm_lifeline(theirs, grace_ms);
    send_packet(theirs, base::as_bytes("armed"), {}, {});
    rest(theirs);
    ::_exit(1);
  }
  theirs.reset();
  Packet packet;
  EXPECT_EQ(receive_packet(ours, packet, true), Received::kPacket);
  return open_pidfd(pid);
}

TEST_F(Lifeline, AHangUpKillsWhatWaits) {
  auto [ours, theirs] = packet_pair();
  Fd child = armed_child(ours, std::move(theirs), 1, [](const Fd&) {
    while (true) ::pause();
  });
  ours.reset();
  EXPECT_EQ(wait_for(child), (ExitStatus{0, SIGKILL}));
}

TEST_F(Lifeline, AHangUpKillsWhatComputes) {
  if (tests::kThreadSanitized) GTEST_SKIP() << "it puts signals off to the next system call";
  auto [ours, theirs] = packet_pair();
  Fd child = armed_child(ours, std::move(theirs), 1, [](const Fd&) {
    volatile bool forever = true;
    while (forever) {
    }
  });
  ours.reset();
  EXPECT_EQ(wait_for(child), (ExitStatus{0, SIGKILL}));
}

TEST_F(Lifeline, WithinTheGraceAChildMayFinish) {
  auto [ours, theirs] = packet_pair();
  Fd child = armed_child(ours, std::move(theirs), 600'000, [](const Fd& socket) {
    Packet packet;
    Received received = Received::kInterrupted;
    while (received == Received::kInterrupted) received = receive_packet(socket, packet, true);
    ::_exit(received == Received::kEndOfFile ? 0 : 1);
  });
  ours.reset();
  EXPECT_EQ(wait_for(child), (ExitStatus{0, 0}));
}

TEST_F(Lifeline, AParentThatWentBeforeIsNoticed) {
  auto [ours, theirs] = packet_pair();
  auto [go_ours, go_theirs] = packet_pair();
  pid_t pid = fork_process();
  if (pid == 0) {
    ours.reset();
    go_ours.reset();
    Packet packet;
    receive_packet(go_theirs, packet, true);  // SYNC POINT: only once the other end is closed
    arm_lifeline(theirs, 1);
    while (true) ::pause();
  }
  ours.reset();
  go_ours.reset();
  EXPECT_EQ(wait_for(open_pidfd(pid)), (ExitStatus{0, SIGKILL}));
}

// As while a worker's children are listed, or by Ctrl-Z.
TEST_F(Lifeline, AStoppedOneEndsToo) {
  bool before = become_subreaper(true);  // its parent is gone when it ends
  auto [told, tells] = packet_pair();
  pid_t parent = fork_process();
  if (parent == 0) {
    auto [ours, theirs] = packet_pair();
    Fd child = armed_child(ours, std::move(theirs), 1, [&tells = tells](const Fd&) {
      pid_t pid = ::getpid();
      send_packet(tells, base::BytesView(reinterpret_cast<std::byte*>(&pid), sizeof pid), {}, {});
      ::raise(SIGSTOP);
      while (true) ::pause();
    });
    siginfo_t info{};
    while (::waitid(P_ALL, 0, &info, WSTOPPED) != 0) {
    }
    ::raise(SIGKILL);
  }
  tells.reset();
  Packet packet;
  ASSERT_EQ(receive_packet(told, packet, true), Received::kPacket);
  pid_t child = 0;
  std::memcpy(&child, packet.bytes.data(), sizeof child);
  EXPECT_EQ(wait_for(open_pidfd(parent)), (ExitStatus{0, SIGKILL}));
  EXPECT_EQ(wait_for(open_pidfd(child)), (ExitStatus{0, SIGKILL}));
  become_subreaper(before);
}

TEST_F(Lifeline, MessagesAreNotAHangUp) {
  auto [ours, theirs] = packet_pair();
  Fd child = armed_child(ours, std::move(theirs), 1, [](const Fd& socket) {
    Packet packet;
    Received received = Received::kPacket;
    int count = 0;
    while (count < 100) {
      received = receive_packet(socket, packet, true);
      if (received == Received::kPacket) ++count;
    }
    ::_exit(3);
  });
  for (int i = 0; i < 100; ++i) send_packet(ours, base::as_bytes("x"), {}, {});
  EXPECT_EQ(wait_for(child), (ExitStatus{3, 0}));
}

TEST_F(Lifeline, ADisarmedOneLetsLive) {
  auto [ours, theirs] = packet_pair();
  Fd child = armed_child(ours, std::move(theirs), 1, [](const Fd& socket) {
    disarm_lifeline(socket);
    send_packet(socket, base::as_bytes("disarmed"), {}, {});
    Packet packet;
    Received received = Received::kInterrupted;
    while (received == Received::kInterrupted) received = receive_packet(socket, packet, true);
    ::_exit(4);
  });
  Packet packet;
  ASSERT_EQ(receive_packet(ours, packet, true), Received::kPacket);
  ours.reset();
  EXPECT_EQ(wait_for(child), (ExitStatus{4, 0}));
}

}  // namespace
}  // namespace procession::os
