// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "crew.hpp"
#include "os/clone.hpp"

namespace procession::pool {
namespace {

using Deaths = PoolTest;

Options policy(OnDeath on_death, std::uint32_t workers = 2, std::uint32_t retries = 0) {
  Options options;
  options.max_workers = workers;
  options.ring_size = 1 << 18;
  options.on_death = on_death;
  options.retries = retries;
  return options;
}

TEST_F(Deaths, FailTaskEndsTheOneTask) {
  Crew crew(policy(OnDeath::kFailTask));
  for (int i = 0; i < 200; ++i) crew.submit(i == 50 ? Act::kKill : Act::kEcho);
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 199u);
  Ending died = crew.now(50);
  EXPECT_EQ(died.kind, OutcomeKind::kDied);
  ASSERT_TRUE(died.death);
  EXPECT_EQ(died.death->status, (os::ExitStatus{0, SIGKILL}));
}

TEST_F(Deaths, AnExitIsADeath) {
  Crew crew(policy(OnDeath::kFailTask));
  Ending died = crew.ending(crew.submit(Act::kExit, 5));
  EXPECT_EQ(died.kind, OutcomeKind::kDied);
  ASSERT_TRUE(died.death);
  EXPECT_EQ(died.death->status, (os::ExitStatus{5, 0}));
  EXPECT_EQ(crew.ending(crew.submit(Act::kExit, 0)).kind, OutcomeKind::kDied);
}

// It was told to end, but not before its task had ended.
TEST_F(Deaths, AnExitInTheLastTaskOfAWorkerIsADeath) {
  for (OnDeath on_death : {OnDeath::kFailTask, OnDeath::kRetry}) {
    Options options = policy(on_death, 1);
    options.tasks_per_worker = 1;
    Crew crew(options);
    EXPECT_EQ(crew.ending(crew.submit(Act::kExit, 0)).kind, OutcomeKind::kDied);
    EXPECT_EQ(crew.ending(crew.submit(Act::kEcho)).kind, OutcomeKind::kResult);
  }
}

TEST_F(Deaths, BreakEndsAll) {
  Gate gate;
  Crew crew(policy(OnDeath::kBreak));
  crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  crew.submit(Act::kKill);
  for (int i = 0; i < 100; ++i) crew.submit(Act::kEcho);
  crew.all_ended();
  EXPECT_TRUE(crew.pool().is_broken());
  EXPECT_EQ(crew.now(0).kind, OutcomeKind::kBroken);
  EXPECT_EQ(crew.now(1).kind, OutcomeKind::kBroken);
  ASSERT_TRUE(crew.now(1).death);
  EXPECT_EQ(crew.now(1).death->status, (os::ExitStatus{0, SIGKILL}));
  crew.finish();
}

// The front door looks before it submits, but the pool may break between the two.
TEST_F(Deaths, ATaskForABrokenPoolEndsToo) {
  Crew crew(policy(OnDeath::kBreak));
  crew.ending(crew.submit(Act::kKill));
  EXPECT_EQ(crew.ending(crew.submit(Act::kEcho)).kind, OutcomeKind::kBroken);
}

TEST_F(Deaths, AWorkerThatCantBeginBreaksThePool) {
  Crew crew(policy(OnDeath::kFailTask));
  std::uint64_t first = crew.submit(Act::kCantBegin, 0, 100);
  crew.submit(Act::kEcho);
  EXPECT_EQ(crew.ending(first).kind, OutcomeKind::kBroken);
  EXPECT_TRUE(crew.now(first).right) << "the initializer's failure";
  crew.all_ended();
}

TEST_F(Deaths, ALargeFailureToBeginReachesEachTask) {
  Gate gate;
  Crew crew(policy(OnDeath::kFailTask, 1));
  crew.submit(Act::kCantBegin, 0, 200'000);
  for (int i = 0; i < 5; ++i) crew.submit(Act::kEcho, 0, 200'000);
  crew.all_ended();
  EXPECT_TRUE(crew.now(0).right);
}

TEST_F(Deaths, ABrokenPoolEndsAWorkerThatWasJustBeingStarted) {
  Pool pool(policy(OnDeath::kBreak, 2));
  auto first = pool.worker_wanted(true);
  auto second = pool.worker_wanted(true);
  ASSERT_TRUE(first && second);
  auto add = [&](std::uint32_t place, bool ends) {
    pid_t pid = os::fork_process();
    if (pid == 0) {
      ::alarm(100);
      while (!ends) ::pause();
      ::_exit(3);
    }
    pool.add_worker(place, pid, os::open_pidfd(pid));
  };
  Outcomes outcomes;
  auto reap = [&] {
    while (outcomes.losses.empty()) {
      pool.wait_back(base::Deadline::never());
      pool.collect(outcomes);
    }
    Death death = outcomes.losses.at(0).death;
    os::end_child(death.pid);
    outcomes.clear();
    return death.status;
  };
  add(*first, true);
  EXPECT_EQ(reap(), (os::ExitStatus{3, 0}));
  EXPECT_TRUE(pool.is_broken());
  add(*second, false);
  EXPECT_EQ(reap(), (os::ExitStatus{0, SIGTERM}));
}

TEST_F(Deaths, RetryDoesItAgain) {
  Crew crew(policy(OnDeath::kRetry, 2, 2));
  for (int i = 0; i < 100; ++i) crew.submit(i == 20 ? Act::kKillOnce : Act::kEcho);
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 100u);
  EXPECT_EQ(crew.tally().runs[20].load(), 2u);
}

TEST_F(Deaths, RetryGivesUp) {
  for (std::uint32_t retries : {0U, 1U, 2U, 9U}) {
    Crew crew(policy(OnDeath::kRetry, 2, retries));
    std::uint64_t killer = crew.submit(Act::kKill);
    for (int i = 0; i < 50; ++i) crew.submit(Act::kEcho);
    crew.finish();
    EXPECT_EQ(crew.now(killer).kind, OutcomeKind::kDied);
    EXPECT_EQ(crew.tally().runs[killer].load(), std::min(retries + 1, 3U));
    EXPECT_EQ(crew.count(OutcomeKind::kResult), 50u);
  }
}

TEST_F(Deaths, OfAnIdleWorkerCostsNothing) {
  Crew crew(policy(OnDeath::kFailTask));
  crew.submit(Act::kEcho);
  crew.all_ended();
  for (int i = 0; i < 20; ++i) {
    crew.kill(static_cast<std::size_t>(i));
    EXPECT_EQ(crew.ending(crew.submit(Act::kEcho)).count, 1);
  }
}

TEST_F(Deaths, WhileWorkingFailsTheTaskAndNotTheNext) {
  Gate gate;
  Crew crew(policy(OnDeath::kFailTask, 1));
  std::uint64_t working = crew.submit(Act::kWait, gate.read_end());
  std::uint64_t next = crew.submit(Act::kEcho);
  crew.began(1);
  crew.kill(0);
  EXPECT_EQ(crew.ending(working).kind, OutcomeKind::kDied);
  EXPECT_EQ(crew.ending(next).kind, OutcomeKind::kResult);
}

TEST_F(Deaths, WhileSendingShowsNothingOfIt) {
  Crew crew(policy(OnDeath::kFailTask, 1));
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(crew.ending(crew.submit(Act::kEcho, 0, 1000)).kind, OutcomeKind::kResult);
    EXPECT_EQ(crew.ending(crew.submit(Act::kTornSend)).kind, OutcomeKind::kDied);
  }
}

// Results that were sent count, even if the worker died before anybody looked.
TEST_F(Deaths, AfterSendingKeepsTheResults) {
  Gate gate;
  Crew crew(policy(OnDeath::kFailTask, 1));
  for (int i = 0; i < 20; ++i) crew.submit(Act::kEcho);
  crew.all_ended();
  crew.hold(true);
  crew.pool().ring_back();
  std::uint64_t sent = crew.tally().sent.load();
  for (int i = 0; i < 5; ++i) crew.submit(Act::kEcho);
  crew.sent(sent + 5);
  crew.kill(0);
  crew.hold(false);
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 25u);
}

TEST_F(Deaths, WhileWaitingForRoomLosesOnlyOneTask) {
  Crew crew(policy(OnDeath::kFailTask, 1));
  for (int i = 0; i < 20; ++i) crew.submit(Act::kEcho);
  crew.all_ended();
  crew.hold(true);
  crew.pool().ring_back();
  for (int i = 0; i < 50; ++i) crew.submit(Act::kGrow, 60'000);
  crew.began(22);
  crew.kill(0);
  crew.hold(false);
  crew.finish();
  EXPECT_GE(crew.count(OutcomeKind::kResult), 69u);
}

TEST_F(Deaths, OfAllAtOnce) {
  Gate gate;
  Crew crew(policy(OnDeath::kFailTask, 3));
  for (int round = 0; round < 10; ++round) {
    std::uint64_t began = crew.tally().began.load();
    std::vector<std::uint64_t> held;
    for (int i = 0; i < 3; ++i) held.push_back(crew.submit(Act::kWait, gate.read_end()));
    crew.began(began + 3);
    std::uint64_t behind = crew.submit(Act::kEcho);
    crew.kill_all();
    for (std::uint64_t number : held) {
      EXPECT_EQ(crew.ending(number).kind, OutcomeKind::kDied);
    }
    EXPECT_EQ(crew.ending(behind).kind, OutcomeKind::kResult);
  }
}

TEST_F(Deaths, WhoWritesGarbageIsKilled) {
  for (bool wants_all : {true, false}) {
    for (std::uint64_t kind = 0; kind < 5; ++kind) {
      Crew crew(policy(OnDeath::kFailTask, 2), true, wants_all);
      if (!wants_all) crew.pool().want_all(false);
      std::uint64_t bad = crew.submit(Act::kCorrupt, kind);
      Ending ending = crew.ending(bad);
      EXPECT_EQ(ending.kind, OutcomeKind::kDied) << kind;
      ASSERT_TRUE(ending.death);
      EXPECT_EQ(ending.death->status, (os::ExitStatus{0, SIGKILL}));
      crew.pool().want_all(true);
      EXPECT_EQ(crew.ending(crew.submit(Act::kEcho)).kind, OutcomeKind::kResult);
    }
  }
}

TEST(BoardTest, StaysWhatItWasThoughItsHeadIsOverwritten) {
  Board board(2, 4096);
  const LastWords* words = &board.words(1);
  os::SharedMapping memory(board.fd());
  std::memset(memory.bytes().data(), 0x5a, sizeof(BoardHead));
  EXPECT_EQ(board.workers(), 2U);
  EXPECT_EQ(&board.words(1), words);
  EXPECT_EQ(board.results(1).data.size(), 4096U);
  EXPECT_THROW(Board(os::duplicate(board.fd().get())), std::runtime_error);
}

TEST_F(Deaths, OfWorkersThatNeverBeginBreakThePool) {
  Options options = policy(OnDeath::kFailTask, 1);
  Pool pool(options);
  FunctionId function = pool.add_function({});
  pool.submit(function, 0, {}, &pool);
  Outcomes outcomes;
  int starts = 0;
  OutcomeKind kind = OutcomeKind::kResult;
  while (pool.unfinished() > 0) {
    while (auto place = pool.worker_wanted()) {
      pid_t pid = os::fork_process();
      if (pid == 0) ::_exit(3);
      ++starts;
      pool.add_worker(*place, pid, os::open_pidfd(pid));
    }
    pool.wait_back(base::Deadline::never());
    pool.collect(outcomes);
    for (const Loss& loss : outcomes.losses) os::end_child(loss.death.pid);
    for (const Outcome& outcome : outcomes.ended) kind = outcome.kind;
  }
  EXPECT_EQ(kind, OutcomeKind::kBroken);
  EXPECT_EQ(starts, 10);
}

}  // namespace
}  // namespace procession::pool
