// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>

#include <random>
#include <thread>

#include "crew.hpp"

namespace procession::pool {
namespace {

using Chaos = PoolTest;

const std::uint64_t kTasks = tests::kThreadSanitized ? 20'000
                             : tests::kSanitized     ? 40'000
                                                     : 200'000;

Options chaos_options(OnDeath on_death, std::uint32_t retries) {
  Options options;
  options.max_workers = 3;
  options.on_death = on_death;
  options.retries = retries;
  return options;
}

// Kills a random worker now and then, until all tasks have ended.
class Killer {
 public:
  explicit Killer(Crew& crew) : thread_([this, &crew] { run(crew); }) {}
  ~Killer() {
    stop_ = true;
    thread_.join();
  }

 private:
  void run(Crew& crew) {
    std::mt19937_64 random(7);
    while (!stop_) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
      crew.kill(random());
    }
  }

  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

void submit_all(Crew& crew) {
  std::mt19937_64 random(11);
  for (std::uint64_t i = 0; i < kTasks; ++i) {
    std::uint64_t choice = random() % 100;
    if (choice < 40) {
      crew.submit(Act::kNothing);
    } else if (choice < 70) {
      crew.submit(Act::kEcho, 0, random() % 200);
    } else if (choice < 98) {
      crew.submit(Act::kSpin, random() % 60);
    } else if (choice < 99) {
      crew.submit(Act::kGrow, random() % 20'000);
    } else {
      crew.submit(Act::kEcho, 0, random() % 100'000);
    }
  }
}

TEST_F(Chaos, EachTaskEndsOnceAndEachDeathWasOne) {
  Crew crew(chaos_options(OnDeath::kFailTask, 0));
  {
    Killer killer(crew);
    submit_all(crew);
    crew.all_ended();
  }
  crew.finish();
  std::size_t died = crew.count(OutcomeKind::kDied);
  EXPECT_EQ(crew.count(OutcomeKind::kResult) + died, kTasks);
  std::map<pid_t, int> killed;
  for (const Loss& loss : crew.losses()) {
    if (loss.expected) continue;
    EXPECT_EQ(loss.death.status, (os::ExitStatus{0, SIGKILL}));
    ++killed[loss.death.pid];
  }
  EXPECT_LE(died, killed.size());
  EXPECT_GT(killed.size(), 0u);
  for (std::uint64_t i = 0; i < kTasks; ++i) {
    Ending ending = crew.now(i);
    if (ending.kind != OutcomeKind::kDied) continue;
    ASSERT_TRUE(ending.death);
    EXPECT_EQ(killed[ending.death->pid]--, 1) << "one worker held two tasks";
  }
}

TEST_F(Chaos, RetriedTasksAllHaveResults) {
  Crew crew(chaos_options(OnDeath::kRetry, 2));
  {
    Killer killer(crew);
    submit_all(crew);
    crew.all_ended();
  }
  crew.finish();
  std::size_t died = crew.count(OutcomeKind::kDied);
  EXPECT_EQ(crew.count(OutcomeKind::kResult) + died, kTasks);
  EXPECT_LE(3 * died, crew.losses().size());
}

// Somebody waits at the front while workers die.
TEST_F(Chaos, WithAFront) {
  Crew crew(chaos_options(OnDeath::kFailTask, 0), true, false);
  std::uint64_t ended = 0;
  {
    Killer killer(crew);
    Outcomes outcomes;
    std::mt19937_64 random(3);
    for (; ended < kTasks / 10; ++ended) {
      std::uint64_t number = crew.submit(Act::kSpin, random() % 30);
      auto done = [&] { return crew.now(number).count > 0; };
      crew.pool().enter_front();
      while (!done()) {
        crew.pool().collect(outcomes);
        crew.settle(outcomes);
        if (done()) break;
        crew.pool().wait_front(crew.id(number), base::Deadline::never(), done);
      }
      crew.pool().leave_front();
    }
  }
  crew.finish();
  EXPECT_EQ(crew.count(OutcomeKind::kResult) + crew.count(OutcomeKind::kDied), ended);
}

}  // namespace
}  // namespace procession::pool
