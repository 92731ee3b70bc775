// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "leftovers.hpp"
#include "os/barrier.hpp"

namespace procession::os {
namespace {

// Two who write and then look: never do both miss the other's write, though one has no barrier.
TEST(Barrier, OneSideIsEnough) {
  if (!register_for_barriers()) GTEST_SKIP() << "this kernel has no membarrier";
  const int rounds = tests::kSanitized ? 2'000 : 20'000;
  std::atomic<int> go{0};
  std::atomic<int> often{0};
  std::atomic<int> seldom{0};
  std::atomic<int> seen_by_often{0};
  std::atomic<int> done{0};
  std::thread other([&] {
    for (int round = 1; round <= rounds; ++round) {
      while (go.load(std::memory_order_acquire) != round) std::this_thread::yield();
      often.store(round, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      seen_by_often.store(seldom.load(std::memory_order_relaxed), std::memory_order_relaxed);
      done.store(round, std::memory_order_release);
    }
  });
  for (int round = 1; round <= rounds; ++round) {
    go.store(round, std::memory_order_release);
    seldom.store(round, std::memory_order_relaxed);
    ASSERT_TRUE(barrier_everywhere());
    int seen = often.load(std::memory_order_relaxed);
    while (done.load(std::memory_order_acquire) != round) std::this_thread::yield();
    EXPECT_TRUE(seen == round || seen_by_often.load(std::memory_order_relaxed) == round);
  }
  other.join();
}

}  // namespace
}  // namespace procession::os
