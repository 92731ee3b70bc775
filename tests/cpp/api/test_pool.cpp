// SPDX-License-Identifier: Apache-2.0
// mp::Pool, which has the names of multiprocessing.Pool.
#include <signal.h>
#include <unistd.h>

#include <numeric>
#include <set>
#include <thread>

#include "every_method.hpp"

namespace {

using namespace procession::tests;
using namespace std::chrono_literals;

class PoolOfWorkers : public EveryPoolMethod {
 protected:
  mp::Pool pool(int workers = 2) const {
    return mp::Pool({.processes = workers, .mp_context = context()});
  }
};
PROCESSION_UNDER_EVERY_METHOD(PoolOfWorkers);

int square(int n) { return n * n; }
int add(int a, int b) { return a + b; }
bool is_even(int n) { return n % 2 == 0; }
int refuse_three(int n) {
  if (n == 3) throw std::out_of_range("three");
  return n;
}
int die_at_three(int n) {
  if (n == 3) ::raise(SIGKILL);
  return n;
}
void sleep_for_ever() {
  while (true) ::pause();
}

TEST_P(PoolOfWorkers, Applies) {
  auto pool = this->pool();
  EXPECT_EQ(pool.apply(add, 2, 3), 5);
  mp::Future<int> result = pool.apply_async(square, 4);
  EXPECT_EQ(result.get(), 16);
}

TEST_P(PoolOfWorkers, Maps) {
  auto pool = this->pool();
  std::vector<int> squares;
  for (int i = 0; i < 100; ++i) squares.push_back(i * i);
  EXPECT_EQ(pool.map(square, std::views::iota(0, 100)), squares);
  EXPECT_EQ(pool.map(square, std::views::iota(0, 100), 1), squares);
  EXPECT_EQ(pool.map(is_even, std::vector{1, 2, 3}), (std::vector{false, true, false}));
  EXPECT_TRUE(pool.map(square, std::vector<int>()).empty());
  auto later = pool.map_async(square, std::views::iota(0, 100));
  later.wait();
  EXPECT_TRUE(later.done());
  EXPECT_TRUE(later.wait_for(0s));
  EXPECT_EQ(later.get(), squares);
  EXPECT_EQ(later.get(), squares);
  EXPECT_EQ(pool.starmap(add, std::vector<std::pair<int, int>>{{1, 2}, {3, 4}}),
            (std::vector{3, 7}));
  EXPECT_EQ(pool.starmap(add, std::vector<std::tuple<int, int>>{{1, 2}, {3, 4}}, 2),
            (std::vector{3, 7}));
}

TEST_P(PoolOfWorkers, MapsLazily) {
  auto pool = this->pool();
  int expected = 0;
  for (int n : pool.imap(square, std::views::iota(0, 50))) {
    EXPECT_EQ(n, expected * expected);
    ++expected;
  }
  EXPECT_EQ(expected, 50);
  int read = 0;
  auto counted = std::views::iota(0) | std::views::transform([&read](int n) {
                   ++read;
                   return n;
                 });
  std::set<int> seen;
  for (int n : pool.imap_unordered(square, counted, {.buffersize = 10})) {
    EXPECT_TRUE(seen.insert(n).second);
    EXPECT_LE(read, static_cast<int>(seen.size()) + 10);
    if (seen.size() == 100) break;
  }
  std::multiset<int> all;
  for (int n : pool.imap_unordered(square, std::views::iota(0, 100), {.chunksize = 7})) {
    all.insert(n);
  }
  EXPECT_EQ(all.size(), 100U);
  EXPECT_EQ(*all.rbegin(), 99 * 99);
}

TEST_P(PoolOfWorkers, ThrowsWhatATaskThrew) {
  auto pool = this->pool();
  EXPECT_EQ(message_of<std::out_of_range>([&] {
              pool.map(refuse_three, std::vector{1, 3, 5});
            }),
            "three");
  EXPECT_EQ(pool.apply(square, 3), 9);
}

TEST_P(PoolOfWorkers, OutlivesItsWorkers) {
  auto pool = this->pool();
  for (int round = 0; round < 3; ++round) {
    EXPECT_THROW(pool.map(die_at_three, std::views::iota(0, 8), 1), mp::WorkerDied);
    EXPECT_EQ(pool.map(square, std::vector{1, 2, 3}), (std::vector{1, 4, 9}));
  }
}

TEST_P(PoolOfWorkers, IsClosedAndJoined) {
  auto pool = this->pool();
  auto result = pool.map_async(square, std::views::iota(0, 100));
  EXPECT_THROW(pool.join(), std::logic_error);
  pool.close();
  EXPECT_THROW(pool.apply(square, 1), std::runtime_error);
  pool.join();
  EXPECT_TRUE(result.done());
  EXPECT_TRUE(mp::active_children().empty());
}

TEST_P(PoolOfWorkers, IsTerminated) {
  auto pool = this->pool(1);
  auto held = pool.apply_async(sleep_for_ever);
  while (!held.running()) std::this_thread::yield();
  auto waiting = pool.apply_async(square, 2);
  pool.terminate();
  pool.join();
  EXPECT_THROW(held.get(), mp::BrokenProcessPool);
  EXPECT_THROW(waiting.get(), mp::CancelledError);
}

TEST_P(PoolOfWorkers, TerminatesAtItsEnd) {
  mp::Future<void> held;
  {
    auto pool = this->pool(1);
    held = pool.apply_async(sleep_for_ever);
  }
  EXPECT_TRUE(held.done());
  EXPECT_NE(held.exception(), nullptr);
}

TEST_P(PoolOfWorkers, HasAnInitializer) {
  static int prepared = 0;
  mp::Pool pool({.processes = 1,
                 .initializer = mp::call([](int with) { prepared = with; }, 6),
                 .mp_context = context()});
  EXPECT_EQ(pool.apply([] { return prepared; }), 6);
}

}  // namespace
