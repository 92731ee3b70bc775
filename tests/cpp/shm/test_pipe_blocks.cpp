// SPDX-License-Identifier: Apache-2.0
#include "shm/pipe_blocks.hpp"

#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "forks.hpp"

namespace procession::shm {
namespace {

class PipesBlocks : public CommonsTest {};

Commons& commons() { return Commons::instance(); }

std::uint64_t in_use() { return commons().usage().arena.in_use; }

Block filled(std::size_t size, int value) {
  Block block = commons().allocate(size);
  std::memset(commons().bytes(block).data(), value, size);
  return block;
}

std::optional<std::uint64_t> hand_over(PipeBlocks& pipe, int end, Block block) {
  std::vector<std::uint64_t> numbers = pipe.hand_over(end, {&block, 1});
  EXPECT_LE(numbers.size(), 1U);
  return numbers.empty() ? std::nullopt : std::optional(numbers[0]);
}

TEST_F(PipesBlocks, ABlockComesOutAtTheOtherEnd) {
  PipeBlocks pipe;
  for (int end : {0, 1}) {
    Block block = filled(100'000, 'a' + end);
    auto number = hand_over(pipe, end, block);
    ASSERT_TRUE(number);
    EXPECT_THROW(pipe.take(1 - end, *number), std::runtime_error);
    pid_t child = in_child([&] {
      PipeBlocks again(pipe.cell()->name());
      Block taken = again.take(end, *number);
      EXPECT_EQ(taken, block);
      EXPECT_EQ(commons().bytes(taken)[99'999], static_cast<std::byte>('a' + end));
      commons().release(taken.offset);
    });
    EXPECT_EQ(wait_for(child), 0);
    EXPECT_THROW(pipe.take(end, *number), std::runtime_error) << "a second time";
  }
}

TEST_F(PipesBlocks, WhoReadsIsKnownAtTheOtherEnd) {
  PipeBlocks pipe;
  PipeBlocks again(pipe.cell()->name());
  EXPECT_FALSE(pipe.has_reader(1, 3));
  again.announce_reader(1, 2);
  EXPECT_TRUE(pipe.has_reader(1, 2));
  EXPECT_FALSE(pipe.has_reader(1, 1));
  EXPECT_FALSE(pipe.has_reader(0, 3));
}

TEST_F(PipesBlocks, SoManyOrSoLargeAreOnTheirWay) {
  PipeBlocks pipe;
  std::vector<std::uint64_t> numbers;
  for (int i = 0; i < PipeBlocks::kMost; ++i) {
    auto number = hand_over(pipe, 0, filled(1000, i));
    ASSERT_TRUE(number);
    numbers.push_back(*number);
  }
  Block refused = filled(1000, 1);
  EXPECT_FALSE(hand_over(pipe, 0, refused));
  commons().release(refused.offset);
  EXPECT_TRUE(hand_over(pipe, 1, filled(1000, 1))) << "the other way is free";
  for (std::uint64_t number : numbers) commons().release(pipe.take(0, number).offset);

  auto large = hand_over(pipe, 0, commons().allocate(PipeBlocks::kMostBytes + 1));
  ASSERT_TRUE(large) << "one of any size";
  Block second = commons().allocate(1000);
  EXPECT_FALSE(hand_over(pipe, 0, second));
  pipe.take_back(0, *large);
  EXPECT_TRUE(hand_over(pipe, 0, second));
}

TEST_F(PipesBlocks, AllOrNone) {
  PipeBlocks pipe;
  std::vector<Block> blocks;
  for (int i = 0; i < PipeBlocks::kMost; ++i) blocks.push_back(filled(1000, i));
  ASSERT_TRUE(hand_over(pipe, 0, filled(1000, 9)));
  EXPECT_TRUE(pipe.hand_over(0, blocks).empty());
  commons().release(blocks.back().offset);
  blocks.pop_back();
  std::vector<std::uint64_t> numbers = pipe.hand_over(0, blocks);
  ASSERT_EQ(numbers.size(), blocks.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    Block taken = pipe.take(0, numbers[i]);
    EXPECT_EQ(taken, blocks[i]);
    commons().release(taken.offset);
  }
}

TEST_F(PipesBlocks, WhatIsTakenBackIsReleased) {
  std::uint64_t before = in_use();
  PipeBlocks pipe;
  auto number = hand_over(pipe, 0, filled(100'000, 1));
  ASSERT_TRUE(number);
  pipe.take_back(0, *number);
  pipe.take_back(0, *number);
  EXPECT_EQ(in_use(), before);
}

TEST_F(PipesBlocks, WhatWasNeverReceivedGoesWithThePipe) {
  std::uint64_t before = in_use();
  {
    PipeBlocks pipe;
    pid_t child = in_child([&] {
      for (int end : {0, 1}) hand_over(pipe, end, filled(100'000, 1));
    });
    EXPECT_EQ(wait_for(child), 0);
    EXPECT_GT(in_use(), before) << "it outlives its sender";
  }
  EXPECT_EQ(in_use(), before);
}

TEST_F(PipesBlocks, NumbersFromAnywhereAreRefused) {
  PipeBlocks pipe;
  ASSERT_TRUE(hand_over(pipe, 0, filled(1000, 1)));
  std::mt19937_64 random(3);
  for (std::uint64_t number : {std::uint64_t{0}, std::uint64_t{5}, ~std::uint64_t{0}}) {
    EXPECT_THROW(pipe.take(0, number), std::runtime_error);
  }
  for (int i = 0; i < 1000; ++i) {
    EXPECT_THROW(pipe.take(0, random() | 1), std::runtime_error);
  }
}

// One that hands over and takes is killed on any line: nothing of it is left, and the pipe goes on; whoever
// comes first, the next to use the pipe or somebody who buries the dead.
TEST_F(PipesBlocks, KillsOnAnyLine) {
  std::mt19937_64 random(5);
  for (int i = 0; i < (tests::kSanitized ? 20 : 300); ++i) {
    std::uint64_t before = in_use();
    {
      PipeBlocks pipe;
      InCommon<std::atomic<int>> rounds;
      pid_t child = in_child([&] {
        for (int end = 0;; end = 1 - end) {
          Block block = commons().allocate(20'000);
          auto number = hand_over(pipe, end, block);
          commons().release(number ? pipe.take(end, *number).offset : block.offset);
          ++*rounds;
        }
      });
      await(*rounds, 1);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      kill_and_wait(child);
      if (i % 2 == 0) commons().sweep();
      for (int end : {0, 1}) {
        auto number = hand_over(pipe, end, filled(1000, 1));
        ASSERT_TRUE(number);
        commons().release(pipe.take(end, *number).offset);
      }
    }
    ASSERT_EQ(in_use(), before) << i;
  }
}

}  // namespace
}  // namespace procession::shm
