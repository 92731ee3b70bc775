// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"
#include "os/proc.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

namespace procession::os {
namespace {

using Clone = tests::LeavesNothing;

// The status of a child, waited for.
ExitStatus end_of(pid_t pid) {
  Fd pidfd = open_pidfd(pid);
  while (wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
  }
  return try_reap(pidfd).value_or(kStatusLost);
}

// What a child reports to the test: in memory that both have.
struct Shared {
  pthread_mutex_t mutex;
  std::atomic<pid_t> sibling = 0;
  std::atomic<pid_t> go_between = 0;
  pid_t owner = 0;
  int relocked = 0;
};

Shared* share() {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* shared = new (memory) Shared;
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  ::pthread_mutex_init(&shared->mutex, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
  return shared;
}

// SYNC POINT: a child writes its pid before anything else.
pid_t known(const std::atomic<pid_t>& pid) {
  while (pid == 0) ::sched_yield();
  return pid;
}

// Ends holding the mutex. That a second lock is seen as one's own needs the right thread id.
[[noreturn]] void live_as_sibling(Shared& shared) {
  shared.sibling = ::gettid();
  ::pthread_mutex_lock(&shared.mutex);
  shared.owner = shared.mutex.__data.__owner;
  shared.relocked = ::pthread_mutex_lock(&shared.mutex);
  ::_exit(7);
}

TEST_F(Clone, ASiblingIsAChildOfTheSameParentAndOwnsItsRobustLocks) {
  if (!can_clone_sibling()) GTEST_SKIP() << "this process has threads of its sanitizer's";
  Shared* shared = share();
  pid_t between = fork_process();
  if (between == 0) {
    if (clone_sibling() == 0) live_as_sibling(*shared);
    ::_exit(0);
  }
  EXPECT_EQ(end_of(between), (ExitStatus{0, 0}));
  EXPECT_EQ(end_of(known(shared->sibling)), (ExitStatus{7, 0})) << "this process reaps it";
  EXPECT_EQ(shared->owner, shared->sibling);
  EXPECT_EQ(shared->relocked, EDEADLK);
  EXPECT_EQ(::pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
  ::pthread_mutex_consistent(&shared->mutex);
  ::pthread_mutex_unlock(&shared->mutex);
  ::munmap(shared, sizeof *shared);
}

TEST_F(Clone, ASiblingOfASiblingHasItsOwnThreadId) {
  if (!can_clone_sibling()) GTEST_SKIP() << "this process has threads of its sanitizer's";
  Shared* shared = share();
  pid_t between = fork_process();
  if (between == 0) {
    if (clone_sibling() == 0) {
      shared->go_between = ::getpid();
      if (!can_clone_sibling()) ::_exit(1);  // its record of its thread id is right
      if (clone_sibling() == 0) live_as_sibling(*shared);
      ::_exit(3);
    }
    ::_exit(0);
  }
  EXPECT_EQ(end_of(between), (ExitStatus{0, 0}));
  EXPECT_EQ(end_of(known(shared->go_between)), (ExitStatus{3, 0}));
  EXPECT_EQ(end_of(known(shared->sibling)), (ExitStatus{7, 0}));
  EXPECT_EQ(::pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
  ::munmap(shared, sizeof *shared);
}

TEST_F(Clone, AThreadMakesCloningUnsafe) {
  auto [ours, theirs] = packet_pair();
  std::thread thread([&theirs = theirs] {
    Packet packet;
    receive_packet(theirs, packet, true);
  });
  EXPECT_FALSE(can_clone_sibling());
  ours.reset();
  thread.join();
}

TEST_F(Clone, AnOrphanIsAdoptedByTheSubreaper) {
  auto [ours, theirs] = packet_pair();
  bool before = become_subreaper(true);
  pid_t between = fork_process();
  if (between == 0) {
    ours.reset();
    pid_t test = ::getppid();
    if (fork_orphan() == 0) {
      pid_t self = ::getpid();
      bool adopted = ::getppid() == test;
      send_packet(theirs, std::as_bytes(std::span(&self, 1)), {}, {});
      ::_exit(adopted ? 5 : 6);
    }
    ::_exit(0);
  }
  theirs.reset();
  EXPECT_EQ(end_of(between), (ExitStatus{0, 0}));
  Packet packet;
  ASSERT_EQ(receive_packet(ours, packet, true), Received::kPacket);
  pid_t orphan = 0;
  std::memcpy(&orphan, packet.bytes.data(), sizeof orphan);
  EXPECT_EQ(end_of(orphan), (ExitStatus{5, 0}));
  become_subreaper(before);
}

TEST_F(Clone, ThreadsAreCounted) {
  int before = thread_count();
  auto [ours, theirs] = packet_pair();
  std::thread thread([&theirs = theirs] {
    Packet packet;
    receive_packet(theirs, packet, true);
  });
  EXPECT_EQ(thread_count(), before + 1);
  ours.reset();
  thread.join();
}

}  // namespace
}  // namespace procession::os
