// SPDX-License-Identifier: Apache-2.0
#include "shm/sem_lock.hpp"

#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "forks.hpp"
#include "shm/biased_mutex.hpp"

namespace procession::shm {
namespace {

using namespace std::chrono_literals;
using Kind = SemLock::Kind;

class SemLocks : public CommonsTest {};

bool is_had(Acquired acquired) {
  return acquired == Acquired::kYes || acquired == Acquired::kOwnerDied;
}

Acquired try_acquire(SemLock& lock) { return lock.acquire(base::Deadline::now()); }

TEST_F(SemLocks, Mutexes) {
  SemLock lock(Kind::kMutex, 1, 1);
  EXPECT_EQ(lock.owner(), 0);
  EXPECT_EQ(lock.acquire(base::Deadline::never()), Acquired::kYes);
  EXPECT_EQ(lock.owner(), ::getpid());
  EXPECT_TRUE(lock.is_mine());
  EXPECT_EQ(lock.count(), 1);
  EXPECT_EQ(try_acquire(lock), Acquired::kTimedOut);
  std::thread([&] { EXPECT_FALSE(lock.is_mine()); }).join();
  EXPECT_TRUE(lock.release());
  EXPECT_FALSE(lock.release());
  EXPECT_EQ(lock.value(), 1U);
}

TEST_F(SemLocks, RecursiveOnes) {
  SemLock lock(Kind::kRecursive, 1, 1);
  SemLock same(lock.cell()->name());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(same.acquire(base::Deadline::never()), Acquired::kYes);
  EXPECT_EQ(lock.acquire(base::Deadline::never()), Acquired::kYes) << "by whatever object";
  EXPECT_EQ(lock.count(), 4);
  std::thread([&] {
    EXPECT_FALSE(lock.release());
    EXPECT_EQ(try_acquire(lock), Acquired::kTimedOut);
  }).join();
  pid_t copy = in_child([&] {
    EXPECT_EQ(lock.count(), 0) << "a copy of the process holds nothing";
    EXPECT_EQ(try_acquire(lock), Acquired::kTimedOut);
    EXPECT_FALSE(lock.release());
  });
  EXPECT_EQ(wait_for(copy), 0);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(lock.release());
  EXPECT_FALSE(lock.release());
  EXPECT_EQ(lock.value(), 1U);
}

TEST_F(SemLocks, Semaphores) {
  SemLock lock(Kind::kSemaphore, 2, 3);
  EXPECT_EQ(try_acquire(lock), Acquired::kYes);
  EXPECT_EQ(try_acquire(lock), Acquired::kYes);
  EXPECT_EQ(try_acquire(lock), Acquired::kTimedOut);
  EXPECT_EQ(lock.acquire(base::Deadline::after(5ms)), Acquired::kTimedOut);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(lock.release());
  EXPECT_FALSE(lock.release());
  EXPECT_EQ(lock.value(), 3U);
}

// Whoever waits is woken by the release, and by the death, of another process.
TEST_F(SemLocks, WaitersAreWoken) {
  for (Kind kind : {Kind::kMutex, Kind::kRecursive, Kind::kSemaphore}) {
    for (bool dies : {false, true}) {
      SemLock lock(kind, 1, 1);
      InCommon<std::atomic<int>> step;
      pid_t child = in_child([&] {
        EXPECT_EQ(lock.acquire(base::Deadline::never()), Acquired::kYes);
        *step = 1;
        await(*step, 2);
        std::this_thread::sleep_for(2ms);
        if (dies) ::kill(::getpid(), SIGKILL);
        EXPECT_TRUE(lock.release());
      });
      await(*step, 1);
      *step = 2;
      Acquired acquired = lock.acquire(base::Deadline::never());
      EXPECT_EQ(acquired, dies ? Acquired::kOwnerDied : Acquired::kYes);
      EXPECT_EQ(try_acquire(lock), kind == Kind::kRecursive ? Acquired::kYes : Acquired::kTimedOut);
      wait_for(child);
      EXPECT_TRUE(lock.release());
      if (kind == Kind::kRecursive) {
        EXPECT_TRUE(lock.release());
      }
    }
  }
}

TEST_F(SemLocks, HandedOnOnPurpose) {
  SemLock lock(Kind::kMutex, 1, 1);
  EXPECT_EQ(try_acquire(lock), Acquired::kYes);
  pid_t releaser = in_child([&] { EXPECT_TRUE(lock.release()); });
  EXPECT_EQ(wait_for(releaser), 0);
  pid_t holder = in_child([&] { EXPECT_EQ(try_acquire(lock), Acquired::kYes); });
  EXPECT_EQ(wait_for(holder), 0);
  EXPECT_EQ(lock.acquire(base::Deadline::after(5ms)), Acquired::kTimedOut)
      << "not freed by its end";
  EXPECT_TRUE(lock.release());
}

struct Guarded {
  std::atomic<int> inside{0};
  std::atomic<int> overlaps{0};
  std::atomic<std::uint64_t> turns{0};
};

class Kills : public SemLocks, public ::testing::WithParamInterface<std::tuple<Kind, int>> {};
INSTANTIATE_TEST_SUITE_P(
    , Kills,
    ::testing::Combine(::testing::Values(Kind::kMutex, Kind::kRecursive, Kind::kSemaphore),
                       ::testing::Values(1, 3)));  // processes: one alone finds it uncontended

// One at a time, whoever is killed where; nobody hangs.
TEST_P(Kills, OnAnyLine) {
  auto [kind, processes] = GetParam();
  SemLock lock(kind, 1, 1);
  InCommon<Guarded> guarded;
  auto churn = [&, recurses = kind == Kind::kRecursive] {
    while (true) {
      if (!is_had(lock.acquire(base::Deadline::never()))) continue;
      // Of one that was killed inside, nobody takes it back.
      guarded->inside.exchange(::getpid());
      guarded->turns.fetch_add(1);
      if (guarded->inside.load() != ::getpid()) guarded->overlaps.fetch_add(1);
      if (recurses) {
        lock.acquire(base::Deadline::never());
        lock.release();
      }
      if (guarded->inside.load() != ::getpid()) guarded->overlaps.fetch_add(1);
      if (!lock.release()) ::_exit(3);
    }
  };
  std::mt19937_64 random(5);
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) children.push_back(in_child(churn));
  for (int i = 0; i < (tests::kSanitized ? 15 : 100); ++i) {
    std::uint64_t turns = guarded->turns;
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    pid_t& victim = children[static_cast<std::size_t>(i % processes)];
    kill_and_wait(victim);
    if (processes > 1) await(guarded->turns, turns + 1);
    victim = in_child(churn);
    if (processes == 1) await(guarded->turns, turns + 1);
  }
  for (pid_t child : children) kill_and_wait(child);
  EXPECT_EQ(guarded->overlaps, 0);
  EXPECT_TRUE(is_had(lock.acquire(base::Deadline::never())));
  EXPECT_TRUE(lock.release());
  EXPECT_EQ(lock.value(), 1U);
}

// Favourites are killed inside, and their favour is taken away by others: one at a time.
TEST_F(SemLocks, FavouritesOfABiasedMutexAreKilled) {
  struct Shared {
    BiasedMutex mutex;
    std::atomic<int> inside;
    std::atomic<int> overlaps;
    std::atomic<std::uint64_t> turns;
    std::uint64_t half_done;
  };
  InCommon<Shared> guarded;
  guarded->mutex.init();
  Commons& commons = Commons::instance();
  auto enter = [&](int who) {
    BiasedMutex::Lock lock(guarded->mutex, commons);
    if (lock.owner_died()) guarded->half_done = 0;
    if (std::exchange(guarded->half_done, 1) != 0) guarded->overlaps.fetch_add(1);
    guarded->inside.store(who, std::memory_order_relaxed);
    guarded->turns.store(guarded->turns.load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
    if (guarded->inside.load(std::memory_order_relaxed) != who) guarded->overlaps.fetch_add(1);
    guarded->half_done = 0;
  };
  auto alone = [&] {
    while (true) enter(::getpid());
  };
  std::mt19937_64 random(5);
  for (int i = 0; i < (tests::kSanitized ? 20 : 300); ++i) {
    pid_t child = in_child(alone);
    std::uint64_t turns = guarded->turns;
    await(guarded->turns, turns + 1000);  // it is the favourite
    for (int j = 0; j < 3; ++j) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      enter(0);
    }
    if (i % 2) await(guarded->turns, guarded->turns + 5000);
    kill_and_wait(child);
    enter(0);
  }
  EXPECT_EQ(guarded->overlaps, 0);
}

}  // namespace
}  // namespace procession::shm
