// SPDX-License-Identifier: Apache-2.0
// Tasks that are submitted one after the other, and what is not in the ledger but in a run of its worker.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "base/sanitizers.hpp"
#include "crew.hpp"

namespace procession::pool {
namespace {

using Runs = PoolTest;

Options run_options(std::uint32_t count, OnDeath on_death = OnDeath::kFailTask) {
  Options options;
  options.max_workers = count;
  options.ring_size = 1 << 18;
  options.on_death = on_death;
  options.retries = 2;
  return options;
}

// The one worker of a crew is held by a task, behind which there are others, most of them in a run.
class HeldCrew {
 public:
  // Only a worker whose tasks have taken a moment so far is given so many ahead, and only the favourite of
  // the pool's mutex gives them at once: on a busy machine neither is the case each time.
  static std::unique_ptr<HeldCrew> make(OnDeath on_death = OnDeath::kFailTask) {
    for (int tries = 0; tries < 200; ++tries) {
      auto made = std::make_unique<HeldCrew>(on_death);
      if (made->stands()) return made;
      made->gate.open();
      made->crew.finish();
    }
    ADD_FAILURE() << "a crew whose tasks are in a run couldn't be made";
    return std::make_unique<HeldCrew>(on_death);
  }

  explicit HeldCrew(OnDeath on_death) : crew(run_options(1, on_death)) {
    for (int i = 0; i < 50; ++i) crew.submit(Act::kNothing);
    crew.all_ended();  // so that it is known how long one takes
    holder = crew.submit(Act::kWait, gate.read_end());
    crew.began(51);
    for (int i = 0; i < 10'000; ++i) crew.pool().is_assigned(crew.id(holder));
    for (std::size_t i = 0; i < 20; ++i) {
      constexpr Act kActs[] = {Act::kNothing, Act::kEcho, Act::kRaise, Act::kEcho};
      behind.push_back(crew.submit(kActs[i % 4], 0, i % 4 * 40));
    }
  }

  bool stands() {
    // Under TSan a mutex has no favourite.
    if (!base::kUnderTsan && crew.given_at_once() <= behind.size() / 2) return false;
    return std::all_of(behind.begin() + 2, behind.end(),
                       [this](std::uint64_t number) { return (crew.id(number) & kOfRun) != 0; });
  }

  // The others have results of their own, but for so many.
  void expect_results(std::size_t but = 0) {
    crew.finish();
    for (std::uint64_t number : behind) {
      Ending ending = crew.now(number);
      EXPECT_EQ(ending.count, 1);
      bool raises = (number - behind.front()) % 4 == 2;
      if (raises ? ending.kind == OutcomeKind::kFailure
                 : ending.kind == OutcomeKind::kResult && ending.right) {
        continue;
      }
      EXPECT_GT(but--, 0u) << "task " << number;
    }
    EXPECT_EQ(but, 0u);
  }

  Gate gate;
  Crew crew;
  std::uint64_t holder = 0;
  std::vector<std::uint64_t> behind;
};

TEST_F(Runs, TasksOfAllKindsEndOnceInTheirTurn) {
  for (std::uint32_t count : {1, 2}) {
    Crew crew(run_options(count));
    std::mt19937_64 random(5);
    std::vector<std::uint64_t> raising;
    for (int i = 0; i < 20'000; ++i) {
      std::uint64_t choice = random() % 100;
      if (choice < 60) {
        crew.submit(Act::kNothing);
      } else if (choice < 95) {
        crew.submit(Act::kEcho, 0, random() % 400);
      } else if (choice < 98) {
        raising.push_back(crew.submit(Act::kRaise));
      } else {
        crew.submit(Act::kGrow, random() % 100'000);
      }
    }
    crew.finish();
    for (std::uint64_t number : raising) {
      EXPECT_EQ(crew.now(number).kind, OutcomeKind::kFailure);
    }
    EXPECT_EQ(crew.count(OutcomeKind::kFailure), raising.size());
    EXPECT_EQ(crew.count(OutcomeKind::kResult), 20'000 - raising.size());
  }
}

TEST_F(Runs, ATaskOfOneIsAssignedAndCanBeTakenBack) {
  auto held = HeldCrew::make();
  EXPECT_TRUE(held->crew.pool().is_assigned(held->crew.id(held->behind[7])));
  EXPECT_FALSE(held->crew.cancel(held->behind[7]));
  EXPECT_TRUE(held->crew.cancel(held->behind[7], true));
  EXPECT_FALSE(held->crew.pool().is_assigned(held->crew.id(held->behind[7])));
  EXPECT_FALSE(held->crew.cancel(held->behind[7], true));
  held->gate.open();
  held->expect_results(1);
  EXPECT_EQ(held->crew.now(held->holder).count, 1);
}

TEST_F(Runs, TasksOfOneOutliveTheirWorker) {
  for (OnDeath on_death : {OnDeath::kFailTask, OnDeath::kRetry}) {
    auto held = HeldCrew::make(on_death);
    held->crew.kill(0);
    if (on_death == OnDeath::kRetry) {
      held->crew.began(52);  // the holder, once more
      held->gate.open();
    }
    held->expect_results();
  }
}

TEST_F(Runs, TasksOfOneBreakWithThePool) {
  auto held = HeldCrew::make(OnDeath::kBreak);
  held->crew.kill(0);
  held->crew.all_ended();
  for (std::uint64_t number : held->behind) {
    EXPECT_EQ(held->crew.now(number).kind, OutcomeKind::kBroken);
    EXPECT_EQ(held->crew.now(number).count, 1);
  }
}

TEST_F(Runs, WhoBeginsToListenHearsOfTasksOfOne) {
  auto held = HeldCrew::make();
  auto stream = held->crew.pool().listen(10'000);
  EXPECT_EQ(held->crew.pool().stats().running, 1u);
  held->gate.open();
  held->expect_results();
  held->crew.pool().end_events();
  std::map<std::uint64_t, int> done;
  std::optional<Event> event;
  while (stream->next(event, base::Deadline::never()) == base::Waited::kReady && event) {
    if (event->kind == EventKind::kDone || event->kind == EventKind::kFailed) ++done[event->task];
  }
  for (std::uint64_t number : held->behind) EXPECT_EQ(done[number], 1) << "task " << number;
}

TEST_F(Runs, AnIdleWorkerGetsTasksOfOne) {
  Gate gate;
  Crew crew(run_options(2));
  for (int i = 0; i < 50; ++i) crew.submit(Act::kNothing);
  crew.all_ended();
  crew.submit(Act::kWait, gate.read_end());
  crew.submit(Act::kWait, gate.read_end());
  crew.began(52);
  std::vector<std::uint64_t> behind;
  for (int i = 0; i < 40; ++i) behind.push_back(crew.submit(Act::kEcho, 0, 30));
  gate.open();  // one of the two goes on, and does the other's, too
  for (std::uint64_t number : behind) EXPECT_TRUE(crew.ending(number).right);
  gate.open();
  crew.finish();
}

}  // namespace
}  // namespace procession::pool
