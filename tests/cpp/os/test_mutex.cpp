// SPDX-License-Identifier: Apache-2.0
#include "os/mutex.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "base/sanitizers.hpp"
#include "leftovers.hpp"
#include "os/barrier.hpp"

namespace procession::os {
namespace {

using AMutex = tests::LeavesNothing;

TEST_F(AMutex, IsHeldByOneThreadAtATime) {
  Mutex mutex;
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 50'000; ++k) {
        std::lock_guard lock(mutex);
        ++count;
        if (k % 1000 == 0) std::this_thread::yield();  // so that others find it held, and sleep
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 200'000);
}

TEST_F(AMutex, HasAnotherFavouriteByAndBy) {
  if (base::kUnderTsan) GTEST_SKIP() << "under TSan nobody is the favourite";
  if (!register_for_barriers()) GTEST_SKIP() << "this kernel has no membarrier(2)";
  Mutex mutex;
  auto becomes_favourite = [&] {
    for (int i = 0; i < 10'000; ++i) {
      std::lock_guard lock(mutex);
    }
    bool is_favourite = mutex.try_lock_as_favourite();
    if (is_favourite) mutex.unlock_as_favourite();
    return is_favourite;
  };
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_TRUE(becomes_favourite());
    std::thread other([&] { EXPECT_TRUE(becomes_favourite()); });
    other.join();
    EXPECT_FALSE(mutex.try_lock_as_favourite());
  }
}

// Each in turn has it so often that it would become the favourite, or does, while the others want it, too.
// There are more of them than can.
TEST_F(AMutex, IsHeldByItsFavouriteAlone) {
  Mutex mutex;
  int count = 0;
  std::atomic<int> turn = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 10; ++round) {
        while (turn % 6 != i) {
          std::lock_guard lock(mutex);
          ++count;
          --count;
          std::this_thread::yield();
        }
        for (int k = 0; k < 5000; ++k) {
          std::lock_guard lock(mutex);
          ++count;
        }
        ++turn;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 300'000);
}

}  // namespace
}  // namespace procession::os
