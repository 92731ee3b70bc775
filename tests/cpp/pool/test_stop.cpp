// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "crew.hpp"
#include "os/memory_use.hpp"
#include "os/proc.hpp"

namespace procession::pool {
namespace {

using namespace std::chrono_literals;
using Stop = PoolTest;

Options stop_options(std::uint32_t count, OnDeath on_death = OnDeath::kBreak) {
  Options options;
  options.max_workers = count;
  options.ring_size = 1 << 18;
  options.on_death = on_death;
  return options;
}

TaskOptions priority(std::int32_t value) {
  TaskOptions options;
  options.priority = value;
  return options;
}

TaskOptions timeout(std::chrono::nanoseconds value) {
  TaskOptions options;
  options.timeout = value;
  return options;
}

TaskOptions on_death(OnDeath value, std::uint32_t retries = 0) {
  TaskOptions options;
  options.on_death = value;
  options.retries = retries;
  return options;
}

TEST_F(Stop, HigherPrioritiesGoFirst) {
  Gate gate;
  Crew crew(stop_options(1));
  crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  std::vector<std::int32_t> values = {0, 3, -1, 3, 0, -7, 9, 0, -1};
  for (std::int32_t value : values) crew.submit(Act::kEcho, 0, 0, priority(value));
  gate.open();
  crew.finish();
  std::vector<std::uint64_t> by_turn(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) by_turn[crew.tally().turn[i + 1] - 1] = i;
  std::vector<std::uint64_t> wanted(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) wanted[i] = i;
  std::stable_sort(wanted.begin(), wanted.end(),
                   [&](std::size_t one, std::size_t other) { return values[one] > values[other]; });
  EXPECT_EQ(by_turn, wanted);
}

TEST_F(Stop, ManyTasksOfAllPrioritiesEndOnce) {
  Crew crew(stop_options(3));
  for (int i = 0; i < 6000; ++i) crew.submit(Act::kEcho, 0, 0, priority(i % 5 - 2));
  for (std::uint64_t i = 0; i < 6000; i += 7) crew.cancel(i);
  crew.finish();
}

TEST_F(Stop, ATaskThatRunsTooLongEndsWithItsWorker) {
  Gate gate;  // ahead of the workers, which have its descriptor by inheritance
  Crew crew(stop_options(2));
  for (Act act : {Act::kWait, Act::kDeafWait, Act::kMakeChild}) {
    std::uint64_t number =
        crew.submit(act, act == Act::kWait ? gate.read_end() : 0, 0, timeout(50ms));
    Ending ended = crew.ending(number);
    EXPECT_EQ(ended.kind, OutcomeKind::kTimedOut);
    ASSERT_TRUE(ended.death);
    EXPECT_TRUE(os::has_ended(ended.death->pid, 0, -1));
    EXPECT_EQ(crew.ending(crew.submit(Act::kEcho)).kind, OutcomeKind::kResult);
  }
  EXPECT_FALSE(crew.pool().is_broken());
}

TEST_F(Stop, WaitingIsNotRunning) {
  Gate gate;
  Crew crew(stop_options(1));
  crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  std::uint64_t behind = crew.submit(Act::kEcho, 0, 0, timeout(100ms));
  std::uint64_t doomed = crew.submit(Act::kDeafWait, 0, 0, timeout(1ms));
  // Of a worker that is busy nobody knows yet when the other's time will begin.
  EXPECT_FALSE(crew.pool().is_assigned(crew.id(behind)));
  gate.open();
  EXPECT_EQ(crew.ending(behind).kind, OutcomeKind::kResult);
  EXPECT_EQ(crew.ending(doomed).kind, OutcomeKind::kTimedOut);
}

TEST_F(Stop, ManyTimeoutsAtOnce) {
  Crew crew(stop_options(2));
  for (int i = 0; i < 10; ++i) crew.submit(Act::kSpin, 100'000'000, 0, timeout(20ms));
  for (int i = 0; i < 100; ++i) crew.submit(Act::kEcho, 0, static_cast<std::size_t>(i) * 1000);
  crew.all_ended();
  EXPECT_EQ(crew.count(OutcomeKind::kTimedOut), 10u);
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 100u);
}

TEST_F(Stop, ATimeoutThatIsNotReachedChangesNothing) {
  Options options = stop_options(2);
  options.timeout = 1000s;
  Crew crew(options);
  for (int i = 0; i < 2000; ++i) crew.submit(Act::kEcho, 0, static_cast<std::size_t>(i % 300));
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 2000u);
  EXPECT_EQ(crew.losses().size(), 2u);
}

TEST_F(Stop, WhatRunsCanBeCancelled) {
  Gate gate;
  Crew crew(stop_options(1));
  for (int round = 0; round < 20; ++round) {
    std::uint64_t before = crew.tally().began;
    std::uint64_t number = crew.submit(round % 2 ? Act::kWait : Act::kSpin,
                                       round % 2 ? gate.read_end() : 1'000'000'000);
    std::vector<std::uint64_t> behind;
    for (int i = 0; i < 20; ++i) behind.push_back(crew.submit(Act::kEcho));
    crew.began(before + 1);
    EXPECT_FALSE(crew.cancel(number));
    EXPECT_TRUE(crew.cancel(number, true));
    for (std::uint64_t each : behind) {
      EXPECT_EQ(crew.ending(each).kind, OutcomeKind::kResult);
      EXPECT_EQ(crew.tally().runs[each].load(), 1u);
    }
  }
  EXPECT_FALSE(crew.pool().is_broken());
}

// At any moment: before it is given, given and not begun, running, ended.
TEST_F(Stop, CancelsAtAnyMoment) {
  Crew crew(stop_options(2, OnDeath::kFailTask));
  int cancelled = 0;
  for (int i = 0; i < 300; ++i) {
    std::vector<std::uint64_t> numbers;
    for (int k = 0; k < 8; ++k) numbers.push_back(crew.submit(Act::kSpin, 20));
    for (int k = 0; k < i % 50; ++k) ::sched_yield();
    cancelled += crew.cancel(numbers[static_cast<std::size_t>(i) % 8], true);
    if (i % 10 == 0) crew.all_ended();
  }
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult) + static_cast<std::size_t>(cancelled), 2400u);
}

TEST_F(Stop, ADescendantEndsToo) {
  for (std::uint64_t deaf : {0, 1}) {
    Crew crew(stop_options(1));
    std::uint64_t number = crew.submit(Act::kMakeChild, deaf);
    crew.began(1);
    EXPECT_TRUE(crew.cancel(number, true));
    crew.finish();  // waits for it
    EXPECT_TRUE(os::has_ended(crew.tally().child, 0, -1));
  }
}

TEST_F(Stop, MemoryOfAStoppedTaskIsReleased) {
  Crew crew(stop_options(1));
  for (int i = 0; i < 3; ++i) {
    std::uint64_t number = crew.submit(Act::kDeafWait, 0, 1'000'000, timeout(1ms));
    EXPECT_EQ(crew.ending(number).kind, OutcomeKind::kTimedOut);
    EXPECT_EQ(crew.ending(crew.submit(Act::kEcho, 0, 1'000'000)).kind, OutcomeKind::kResult);
  }
  crew.all_ended();
}

TEST_F(Stop, EachTaskHasItsOwnRuleForDeaths) {
  Crew crew(stop_options(1, OnDeath::kBreak));
  auto ends = [&](Act act, const TaskOptions& options) {
    return crew.ending(crew.submit(act, 0, 0, options)).kind;
  };
  EXPECT_EQ(ends(Act::kKill, on_death(OnDeath::kFailTask)), OutcomeKind::kDied);
  crew.tally().kills = 0;
  EXPECT_EQ(ends(Act::kKillOnce, on_death(OnDeath::kRetry, 1)), OutcomeKind::kResult);
  crew.tally().kills = 0;
  EXPECT_EQ(ends(Act::kKill, on_death(OnDeath::kRetry, 100)), OutcomeKind::kDied);
  EXPECT_EQ(crew.tally().kills.load(), 3u);
  EXPECT_FALSE(crew.pool().is_broken());
  EXPECT_EQ(ends(Act::kKill, {}), OutcomeKind::kBroken);
}

TEST_F(Stop, IdleWorkersAreLetGo) {
  Options options = stop_options(3);
  options.idle_timeout = 20ms;
  Crew crew(options, false);
  for (int round = 0; round < 3; ++round) {
    Gate gate;
    std::uint64_t before = crew.tally().began;
    for (int i = 0; i < 3; ++i) crew.submit(Act::kWait, gate.read_end());
    crew.began(before + 3);
    gate.open(2);
    crew.workers_are(1);
    gate.open();
    crew.workers_are(0);
  }
  for (const Loss& loss : crew.losses()) EXPECT_TRUE(loss.expected);
  EXPECT_EQ(crew.losses().size(), 9u);
}

// All of them have more than a byte.
TEST_F(Stop, WorkersThatHaveGrownAreReplaced) {
  Options options = stop_options(2);
  options.max_rss = 1;
  Crew crew(options);
  for (int i = 0; i < 1000; ++i) crew.submit(Act::kSpin, 50);
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 1000u);
  EXPECT_GT(crew.losses().size(), 4u);
  for (const Loss& loss : crew.losses()) EXPECT_TRUE(loss.expected);
}

TEST_F(Stop, ADeathTellsItsCircumstances) {
  Crew crew(stop_options(1, OnDeath::kFailTask));
  Ending died = crew.ending(crew.submit(Act::kKill));
  ASSERT_TRUE(died.death && died.death->more);
  EXPECT_TRUE(died.death->function);
  EXPECT_GT(died.death->more->usage.max_rss_kib, 100);
  EXPECT_EQ(died.death->more->last_words, "");
  EXPECT_EQ(died.death->more->out_of_memory, OutOfMemory::kNo);
}

TEST(LastWordsTest, TheEndOfWhatWasSaidIsKept) {
  auto words = std::make_unique<LastWords>();
  os::Exit exit;
  auto kept = [&] { return circumstances_of(*words, exit).last_words; };
  auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  EXPECT_EQ(kept(), "");
  say(*words, bytes("one\n"));
  say(*words, bytes("two\n"));
  EXPECT_EQ(kept(), "one\ntwo\n");
  std::string long_text(10'000, 'x');
  say(*words, bytes(long_text + "end"));
  EXPECT_EQ(kept(), long_text.substr(0, 4093) + "end");
  std::string crash(5000, 'c');
  crash.copy(words->crash.data(), crash.size());
  EXPECT_EQ(kept(), std::string(1021, 'x') + "end" + std::string(3072, 'c'));
  clear(*words);
  EXPECT_EQ(kept(), "");
}

TEST(LastWordsTest, GarbageIsNoTrouble) {
  auto words = std::make_unique<LastWords>();
  std::memset(static_cast<void*>(words.get()), 0xa5, sizeof *words);
  os::Exit exit;
  exit.status.signal = os::kKill;
  Circumstances found = circumstances_of(*words, exit);
  EXPECT_EQ(found.last_words.size(), 4096u);
  EXPECT_EQ(found.out_of_memory, OutOfMemory::kNo);
}

// The counter is what it was, or is told to have been less.
TEST(LastWordsTest, WantOfMemoryIsSeenByTheCounter) {
  auto words = std::make_unique<LastWords>();
  note_oom_counter(*words);
  std::string path = words->oom_path.data();
  if (!os::read_oom_counter(path)) GTEST_SKIP() << path << " has no count of kills";
  os::Exit exit;
  exit.status.signal = os::kKill;
  EXPECT_EQ(circumstances_of(*words, exit).out_of_memory, OutOfMemory::kNo);
  if (words->oom_kills == 0) return;
  --words->oom_kills;
  EXPECT_NE(circumstances_of(*words, exit).out_of_memory, OutOfMemory::kNo);
  exit.status.signal = os::kTerminate;
  EXPECT_EQ(circumstances_of(*words, exit).out_of_memory, OutOfMemory::kNo);
}

}  // namespace
}  // namespace procession::pool
