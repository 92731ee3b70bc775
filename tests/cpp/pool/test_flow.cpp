// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <thread>

#include "crew.hpp"

namespace procession::pool {
namespace {

using Flow = PoolTest;

Options flow_options(std::uint32_t count, std::uint32_t ring_size = 1 << 20) {
  Options options;
  options.max_workers = count;
  options.ring_size = ring_size;
  options.on_death = OnDeath::kFailTask;
  return options;
}

TEST_F(Flow, EachTaskEndsOnceWithItsOwnResult) {
  Crew crew(flow_options(3));
  for (int i = 0; i < 20'000; ++i) crew.submit(Act::kEcho, 0, static_cast<std::size_t>(i % 300));
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 20'000u);
}

TEST_F(Flow, APoolWithoutTasksFinishes) { Crew crew(flow_options(2)); }

TEST_F(Flow, WorkersAreStartedAsTasksCome) {
  Gate gate;
  Crew crew(flow_options(3), false);
  EXPECT_EQ(crew.pool().workers(), 0u);
  crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  EXPECT_EQ(crew.pool().workers(), 1u);
  crew.submit(Act::kWait, gate.read_end());
  crew.began(2);
  EXPECT_EQ(crew.pool().workers(), 2u);
  gate.open(2);
  crew.finish();
}

TEST_F(Flow, AFailureIsAnOutcome) {
  Crew crew(flow_options(1));
  EXPECT_EQ(crew.ending(crew.submit(Act::kRaise)).kind, OutcomeKind::kFailure);
  EXPECT_EQ(crew.ending(crew.submit(Act::kEcho)).kind, OutcomeKind::kResult);
}

TEST_F(Flow, PayloadsOfAllSizesArrive) {
  Crew crew(flow_options(2, 1 << 18));
  std::size_t sizes[] = {0, 1, 7, 8, 4000, 60'000, kLargestInline, kLargestInline + 1, 1'000'000};
  for (int i = 0; i < 5; ++i) {
    for (std::size_t size : sizes) {
      crew.submit(Act::kEcho, 0, size);
      crew.submit(Act::kGrow, size);
    }
  }
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 90u);
}

TEST_F(Flow, WhatNoWorkerHasCanBeCancelled) {
  Gate gate;
  Crew crew(flow_options(1));
  std::uint64_t first = crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  std::vector<std::uint64_t> others;
  for (int i = 0; i < 9; ++i) others.push_back(crew.submit(Act::kEcho));
  EXPECT_TRUE(crew.pool().is_assigned(crew.id(first)));
  EXPECT_FALSE(crew.cancel(first));
  EXPECT_TRUE(crew.cancel(others[8]));
  EXPECT_FALSE(crew.cancel(others[8]));
  EXPECT_TRUE(crew.cancel(others[4]));
  std::uint64_t last = crew.submit(Act::kEcho);
  gate.open();
  EXPECT_EQ(crew.ending(last).kind, OutcomeKind::kResult);
  crew.finish();
  EXPECT_EQ(crew.tally().runs[others[8]].load(), 0u);
  EXPECT_EQ(crew.tally().runs[others[4]].load(), 0u);
}

TEST_F(Flow, AllCanBeCancelled) {
  Gate gate;
  Crew crew(flow_options(2));
  crew.submit(Act::kWait, gate.read_end());
  crew.submit(Act::kWait, gate.read_end());
  crew.began(2);
  for (int i = 0; i < 1000; ++i) crew.submit(Act::kEcho);
  std::size_t cancelled = crew.cancel_all();
  EXPECT_GE(cancelled, 990u);
  gate.open(2);
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 1002 - cancelled);
}

TEST_F(Flow, APoolThatHasNoWorkersYetCancels) {
  Crew crew(flow_options(1));
  crew.cancel_all();
  crew.finish();
}

TEST_F(Flow, RecycledWorkersLoseNothing) {
  Options options = flow_options(3);
  options.tasks_per_worker = 7;
  Crew crew(options);
  for (int i = 0; i < 700; ++i) crew.submit(Act::kEcho, 0, 10);
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 700u);
  EXPECT_GE(crew.losses().size(), 100u);
  for (const Loss& loss : crew.losses()) EXPECT_TRUE(loss.expected);
}

// The word that tells a worker to end needs room of its own.
TEST_F(Flow, AWorkerIsRecycledThoughItsRingIsFull) {
  for (std::size_t tasks = 2; tasks < 12; ++tasks) {
    Options options = flow_options(1, 4096);
    options.tasks_per_worker = tasks;
    Crew crew(options);
    for (std::size_t i = 0; i < 20 * tasks; ++i)
      crew.submit(Act::kEcho, 0, 400 + i % 2 * 8 * tasks);
    crew.all_ended();
    for (std::size_t i = 0; i < 20 * tasks; ++i) crew.submit(Act::kEcho, 0, 700 - 16 * tasks);
    crew.finish();
    EXPECT_EQ(crew.count(OutcomeKind::kResult), 40 * tasks);
  }
}

// The function goes ahead of its first call: the call may not fit yet, and nothing else is under way.
TEST_F(Flow, AWorkerThatMadeRoomForACallIsGivenIt) {
  Crew crew(flow_options(1, 1 << 16));
  for (std::size_t i = 0; i < 40; ++i) {
    crew.use_function(20'000 + i * 300);
    EXPECT_TRUE(crew.ending(crew.submit(Act::kEcho, 0, 30'000 - i * 500)).right);
  }
}

TEST_F(Flow, ASlowTaskDoesNotHoldUpThoseBehindIt) {
  Gate gate;
  Crew crew(flow_options(2));
  for (int i = 0; i < 50; ++i) crew.submit(Act::kEcho);  // they are fast, so they're given ahead
  crew.all_ended();
  std::vector<std::uint64_t> fast;
  std::uint64_t slow = crew.submit(Act::kWait, gate.read_end());
  for (int i = 0; i < 300; ++i) fast.push_back(crew.submit(Act::kEcho));
  for (std::uint64_t number : fast) EXPECT_EQ(crew.ending(number).kind, OutcomeKind::kResult);
  EXPECT_EQ(crew.now(slow).count, 0);
  gate.open();
  crew.finish();
  for (std::uint64_t number : fast) EXPECT_EQ(crew.tally().runs[number % 4096].load(), 1u);
}

// What was taken back must not go to the same worker again: it couldn't be taken back a second time.
TEST_F(Flow, ASlowTaskDoesNotHoldUpWhatComesLater) {
  Gate gate;
  Crew crew(flow_options(2));
  for (int i = 0; i < 50; ++i) crew.submit(Act::kSpin, 20);
  crew.all_ended();
  crew.submit(Act::kWait, gate.read_end());
  for (int round = 0; round < 20; ++round) {
    std::vector<std::uint64_t> fast;
    for (int i = 0; i < 400; ++i) fast.push_back(crew.submit(Act::kSpin, 20));
    for (std::uint64_t number : fast) EXPECT_EQ(crew.ending(number).kind, OutcomeKind::kResult);
  }
  gate.open();
}

// The blocks of a call that was taken back may be gone by the time its first holder comes to it.
TEST_F(Flow, LargeCallsCanBeTakenBack) {
  Gate gate;
  Crew crew(flow_options(2));
  for (int i = 0; i < 50; ++i) crew.submit(Act::kEcho);
  crew.all_ended();
  for (int round = 0; round < 20; ++round) {
    std::vector<std::uint64_t> fast;
    crew.submit(Act::kWait, gate.read_end());
    for (int i = 0; i < 20; ++i) fast.push_back(crew.submit(Act::kEcho, 0, 100'000));
    for (std::uint64_t number : fast) EXPECT_TRUE(crew.ending(number).right);
    gate.open();
    crew.all_ended();
  }
  crew.finish();
  EXPECT_EQ(crew.losses().size(), 2u);
}

// Nobody wants to be told of results here, but work is to go on.
TEST_F(Flow, AWorkerThatRunsDryIsSeenByNobodysWaiting) {
  Gate gate;
  Crew crew(flow_options(2), true, false);
  crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  for (int i = 0; i < 300; ++i) crew.submit(Act::kEcho);
  crew.began(301);
  gate.open();
}

TEST_F(Flow, WorkGoesOnThoughNobodyWaits) {
  for (int round = 0; round < (tests::kSanitized ? 20 : 200); ++round) {
    Crew crew(flow_options(2), true, false);
    for (int i = 0; i < 300; ++i) crew.submit(Act::kEcho);
    crew.began(300);
    crew.finish();
    EXPECT_EQ(crew.count(OutcomeKind::kResult), 300u);
  }
}

// More results than fit into the rings, and nobody takes them.
TEST_F(Flow, FullResultRingsAreNoDeadlock) {
  Crew crew(flow_options(2, 1 << 18));
  for (int i = 0; i < 20; ++i) crew.submit(Act::kEcho);
  crew.all_ended();
  crew.hold(true);
  for (int i = 0; i < 400; ++i) crew.submit(Act::kGrow, 60'000);
  crew.hold(false);
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 420u);
}

TEST_F(Flow, ManyThreadsSubmit) {
  Crew crew(flow_options(3));
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3000; ++i) crew.submit(Act::kEcho, 0, 20);
    });
  }
  for (std::thread& thread : threads) thread.join();
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult), 9000u);
}

}  // namespace
}  // namespace procession::pool
