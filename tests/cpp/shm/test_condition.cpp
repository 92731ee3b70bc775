// SPDX-License-Identifier: Apache-2.0
#include "shm/condition.hpp"

#include <random>
#include <vector>

#include "base/error.hpp"
#include "forks.hpp"
#include "shm/sem_lock.hpp"

namespace procession::shm {
namespace {

using namespace std::chrono_literals;
using Told = Condition::Told;

class Conditions : public CommonsTest {};

TEST_F(Conditions, ThoseThatHaveWaitedLongestAreTold) {
  Condition condition;
  int first = condition.enter();
  int second = condition.enter();
  int third = condition.enter();
  EXPECT_EQ(condition.waiting(), 3);
  EXPECT_EQ(condition.notify(2), 2);
  EXPECT_EQ(condition.waiting(), 1);
  EXPECT_EQ(condition.wait(first, base::Deadline::never()), Told::kYes);
  EXPECT_EQ(condition.wait(third, base::Deadline::after(2ms)), Told::kTimedOut);
  EXPECT_EQ(condition.wait(second, base::Deadline::now()), Told::kYes);
  EXPECT_EQ(condition.notify(1), 0);
  EXPECT_EQ(condition.waiting(), 0);
}

TEST_F(Conditions, WhoLeavesPassesOnWhatItWasTold) {
  Condition condition;
  int first = condition.enter();
  int second = condition.enter();
  EXPECT_EQ(condition.notify(1), 1);
  condition.leave(first);
  EXPECT_EQ(condition.wait(second, base::Deadline::never()), Told::kYes);
}

TEST_F(Conditions, AKilledWaiterIsPassedOver) {
  Condition condition;
  InCommon<std::atomic<int>> step;
  pid_t child = in_child([&] {
    condition.enter();
    *step = 1;
    sleep_for_ever();
  });
  await(*step, 1);
  int mine = condition.enter();
  kill_and_wait(child);
  EXPECT_EQ(condition.notify(1), 1);
  EXPECT_EQ(condition.wait(mine, base::Deadline::never()), Told::kYes);
}

TEST_F(Conditions, APeersDeathIsTold) {
  Condition condition;
  InCommon<std::atomic<int>> step;
  pid_t child = in_child([&] {
    condition.enter();
    *step = 1;
    sleep_for_ever();
  });
  await(*step, 1);
  int mine = condition.enter();
  std::thread killer([&] { ::kill(child, SIGKILL); });
  EXPECT_EQ(condition.wait(mine, base::Deadline::never(), true), Told::kPeerDied);
  killer.join();
  wait_for(child);
  condition.leave(mine);
  EXPECT_EQ(condition.waiting(), 0);
}

TEST_F(Conditions, AllSeatsTaken) {
  Condition condition;
  for (int i = 0; i < Condition::kSeats; ++i) condition.enter();
  EXPECT_THROW(condition.enter(), base::OsError);
  EXPECT_EQ(condition.notify(1000), Condition::kSeats);
  EXPECT_THROW(condition.enter(), base::OsError) << "who was told has its seat still";
  for (int i = 0; i < Condition::kSeats; ++i) {
    EXPECT_EQ(condition.wait(i, base::Deadline::never()), Told::kYes);
  }
}

// Waiters are killed; of those that are left, each gets what it waits for.
TEST_F(Conditions, KillsOnAnyLine) {
  Condition condition;
  InCommon<std::atomic<std::uint64_t>> told;
  auto churn = [&] {
    while (true) {
      int seat = condition.enter();
      if (condition.wait(seat, base::Deadline::after(5ms)) == Told::kYes) told->fetch_add(1);
    }
  };
  std::mt19937_64 random(5);
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) children.push_back(in_child(churn));
  for (int i = 0; i < (tests::kSanitized ? 10 : 60); ++i) {
    std::uint64_t before = *told;
    while (*told < before + 5) condition.notify(1 + static_cast<int>(random() % 3));
    pid_t& victim = children[static_cast<std::size_t>(i % 3)];
    kill_and_wait(victim);
    victim = in_child(churn);
  }
  for (pid_t child : children) kill_and_wait(child);
  EXPECT_EQ(condition.waiting(), 0);
}

}  // namespace
}  // namespace procession::shm
