// SPDX-License-Identifier: Apache-2.0
// The bugs that each hung a prototype, and their kin: nobody sleeps through what he waits for.
#include <gtest/gtest.h>
#include <sched.h>

#include <fstream>
#include <string>
#include <thread>

#include "crew.hpp"

namespace procession::pool {
namespace {

using Waiting = PoolTest;

Options workers(std::uint32_t count) {
  Options options;
  options.max_workers = count;
  options.on_death = OnDeath::kFailTask;
  return options;
}

const int kRounds = tests::kSanitized ? 1'000 : 20'000;

// A thread at the front: waits for one task at a time.
class Front {
 public:
  explicit Front(Crew& crew) : crew_(crew) {}

  void wait_for(std::uint64_t number) {
    auto done = [&] { return crew_.now(number).count > 0; };
    crew_.pool().enter_front();
    while (!done()) {
      crew_.pool().collect(outcomes_);
      crew_.settle(outcomes_);
      if (done()) break;
      base::Waited waited =
          crew_.pool().wait_front(crew_.id(number), base::Deadline::never(), done);
      EXPECT_EQ(waited, base::Waited::kReady);
    }
    crew_.pool().leave_front();
  }

 private:
  Crew& crew_;
  Outcomes outcomes_;
};

// Each result wakes whoever sleeps for it, however short before.
TEST_F(Waiting, AtTheFrontAlone) {
  Crew crew(workers(2), true, false);
  Front front(crew);
  for (int i = 0; i < kRounds; ++i) {
    front.wait_for(crew.submit(i % 16 ? Act::kEcho : Act::kSpin, static_cast<unsigned>(i % 300)));
  }
}

// Two drainers: the one at the back takes results too, and tells the front of them.
TEST_F(Waiting, AtTheFrontBesideOneAtTheBack) {
  Crew crew(workers(2), true, true);
  Front front(crew);
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) {
      crew.submit(Act::kEcho);
      crew.pool().ring_back();
      std::this_thread::yield();
      if (crew.pool().unfinished() > 100) crew.all_ended();
    }
  });
  for (int i = 0; i < kRounds / 4; ++i) {
    std::uint64_t number =
        crew.submit(i % 16 ? Act::kEcho : Act::kSpin, static_cast<unsigned>(i % 100));
    // The back tells whoever is at the front, as a front door's settle does.
    front.wait_for(number);
  }
  stop = true;
  other.join();
}

// A worker that dies as it is about to ring has told all others that there is no need to.
TEST_F(Waiting, ForAWorkerThatDiesBeforeItRings) {
  Crew crew(workers(1), true, false);
  Front front(crew);
  for (int i = 0; i < kRounds / 100; ++i) {
    std::uint64_t number = crew.submit(Act::kTornRing);
    front.wait_for(number);
    EXPECT_EQ(crew.now(number).kind, OutcomeKind::kDied);
  }
}

// What comes while somebody leaves the front is the back's.
TEST_F(Waiting, LeavingTheFrontLeavesNothingBehind) {
  Crew crew(workers(2), true, true);
  Front front(crew);
  for (int i = 0; i < kRounds / 2; ++i) {
    std::uint64_t mine = crew.submit(Act::kEcho);
    std::uint64_t other = crew.submit(Act::kSpin, static_cast<unsigned>(i % 20));
    front.wait_for(mine);
    EXPECT_EQ(crew.ending(other).kind, OutcomeKind::kResult);
  }
}

// The front sleeps for a slow task; then somebody asks for every result.
TEST_F(Waiting, WantingAllWakesNotOnlyForTheAwaited) {
  for (int i = 0; i < (tests::kSanitized ? 100 : 300); ++i) {
    Gate gate;
    Crew crew(workers(2), true, false);
    std::uint64_t slow = crew.submit(Act::kWait, gate.read_end());
    std::thread waiter([&] { Front(crew).wait_for(slow); });
    crew.began(1);
    std::uint64_t fast = crew.submit(Act::kSpin, static_cast<unsigned>(i % 50));
    crew.pool().want_all(true);
    EXPECT_EQ(crew.ending(fast).kind, OutcomeKind::kResult);
    EXPECT_EQ(crew.now(slow).count, 0);
    gate.open();
    waiter.join();
  }
}

// A death is seen by whoever sleeps, at the front or at the back.
TEST_F(Waiting, ADeathWakesTheFront) {
  Crew crew(workers(2), true, false);
  Front front(crew);
  for (int i = 0; i < (tests::kSanitized ? 50 : 300); ++i) {
    std::uint64_t number = crew.submit(Act::kKill);
    front.wait_for(number);
    EXPECT_EQ(crew.now(number).kind, OutcomeKind::kDied);
  }
}

// The front has seen that a worker died, and leaves, since its own result had come.
TEST_F(Waiting, ADeathThatTheFrontLeavesBehindIsSeen) {
  Options options = workers(2);
  options.tasks_per_worker = 3;
  Crew crew(options, true, false);
  Front front(crew);
  for (int i = 0; i < (tests::kSanitized ? 200 : 2000); ++i)
    front.wait_for(crew.submit(Act::kEcho));
  crew.finish();
  for (const Loss& loss : crew.losses()) EXPECT_TRUE(loss.expected);
}

TEST_F(Waiting, ATimeoutIsKept) {
  Gate gate;
  Crew crew(workers(1), true, false);
  std::uint64_t slow = crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  crew.pool().enter_front();
  Outcomes outcomes;
  base::Deadline deadline = base::Deadline::after(std::chrono::milliseconds(20));
  base::Waited waited = base::Waited::kReady;
  while (waited == base::Waited::kReady) {
    crew.pool().collect(outcomes);
    crew.settle(outcomes);
    waited = crew.pool().wait_front(crew.id(slow), deadline, [] { return false; });
  }
  crew.pool().leave_front();
  EXPECT_EQ(waited, base::Waited::kTimedOut);
  EXPECT_TRUE(deadline.passed());
  gate.open();
}

// A worker that waits for room rang for a front that then left.
TEST_F(Waiting, RoomIsMadeThoughTheFrontLeaves) {
  Options options = workers(2);
  options.ring_size = 1 << 18;
  Crew crew(options, true, false);
  Front front(crew);
  for (int i = 0; i < (tests::kSanitized ? 50 : 500); ++i) {
    std::uint64_t mine = crew.submit(Act::kEcho);
    std::uint64_t begun = crew.tally().began.load();
    (void)begun;
    for (int k = 0; k < 12; ++k) crew.submit(Act::kGrow, 60'000);
    front.wait_for(mine);
    crew.began(static_cast<std::uint64_t>(13 * (i + 1)));
  }
}

// This thread, and what it makes, on the CPU that it is on.
class OnOneCpu {
 public:
  OnOneCpu() {
    ::sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
    EXPECT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  }
  OnOneCpu(const OnOneCpu&) = delete;
  OnOneCpu& operator=(const OnOneCpu&) = delete;
  ~OnOneCpu() { ::sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_{};
};

// Who is made by a thread with SCHED_BATCH has it, too, and drives nobody from his CPU when he wakes.
void set_policy(int policy) {
  sched_param none{};
  EXPECT_EQ(::sched_setscheduler(0, policy, &none), 0);
}

bool sleeps(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string number;
  std::string name;
  std::string state;
  file >> number >> name >> state;
  return state == "S";
}

// Of so many calls to a worker that sleeps on this CPU, those that have ended when they are submitted.
int ended_at_once(int calls, bool are_waited_for) {
  OnOneCpu on_one_cpu;
  set_policy(SCHED_BATCH);
  Crew crew(workers(1), true, false);
  crew.workers_are(1);
  set_policy(SCHED_OTHER);
  Front front(crew);
  front.wait_for(crew.submit(Act::kNothing));
  int ended = 0;
  Outcomes outcomes;
  for (int i = 0; i < calls; ++i) {
    while (!sleeps(crew.pids().front())) std::this_thread::yield();
    std::uint64_t number = crew.submit(Act::kNothing);
    if (crew.pool().has_news()) ++ended;
    if (are_waited_for) front.wait_for(number);
    while (crew.now(number).count == 0) {
      std::this_thread::yield();
      crew.pool().collect(outcomes);
      crew.settle(outcomes);
    }
  }
  return ended;
}

// Nobody has to be woken for it: the worker was let go first. (Others may use this CPU, too.)
TEST_F(Waiting, AShortCallToOneWhoSleepsHasEndedBeforeItIsWaitedFor) {
  const int calls = kRounds / 50;
  EXPECT_GT(ended_at_once(calls, true), calls * 3 / 4);
}

TEST_F(Waiting, WhoDoesntWaitForCallsGivesNoWayToThem) {
  const int calls = kRounds / 50;
  EXPECT_LT(ended_at_once(calls, false), calls / 4);
}

}  // namespace
}  // namespace procession::pool
