// SPDX-License-Identifier: Apache-2.0
#include "shm/message_queue.hpp"

#include <poll.h>

#include <array>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "forks.hpp"
#include "queue_memory.hpp"

namespace procession::shm {
namespace {

using namespace std::chrono_literals;
using Bells = MessageQueue::Bells;
using Message = MessageQueue::Message;

class MessageQueues : public CommonsTest {};

// The message of a number: its size and content follow from it.
base::Bytes message(std::uint64_t number, std::size_t size) {
  base::Bytes bytes(sizeof number + size);
  std::memcpy(bytes.data(), &number, sizeof number);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[sizeof number + i] = static_cast<std::byte>(number + i);
  }
  return bytes;
}

std::uint64_t number_of(base::BytesView bytes) {
  std::uint64_t number = 0;
  EXPECT_GE(bytes.size(), sizeof number);
  std::memcpy(&number, bytes.data(), sizeof number);
  for (std::size_t i = sizeof number; i < bytes.size(); ++i) {
    if (bytes[i] != static_cast<std::byte>(number + i - sizeof number)) {
      ADD_FAILURE() << "message " << number << " is torn";
      break;
    }
  }
  return number;
}

std::size_t size_of(std::uint64_t number) {
  std::uint64_t mixed = (number + 1) * 0x9e3779b97f4a7c15;
  mixed ^= mixed >> 29;
  return mixed % 50 == 0 ? mixed % 20'000 : mixed % 100;
}

void put(MessageQueue& queue, std::uint64_t number) {
  while (!queue.try_put(1, message(number, size_of(number)))) {
    queue.wait_for_room(base::Deadline::never());
  }
}

Message get(MessageQueue& queue) {
  Message message;
  while (!queue.try_get(message)) queue.wait_for_message(base::Deadline::never());
  return message;
}

TEST_F(MessageQueues, FirstInFirstOut) {
  MessageQueue queue(0, Bells::kNo);
  Message message;
  EXPECT_FALSE(queue.try_get(message));
  EXPECT_TRUE(queue.try_put(5, {}));
  for (std::uint64_t round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < 5000; ++i) put(queue, i);  // it grows
    EXPECT_EQ(queue.size(), 5000U + (round == 0));
    if (round == 0) {
      EXPECT_TRUE(queue.try_get(message));
      EXPECT_EQ(message.form, 5U);
      EXPECT_EQ(message.producer, ::getpid());
      EXPECT_TRUE(message.payload.empty());
    }
    for (std::uint64_t i = 0; i < 5000; ++i) ASSERT_EQ(number_of(get(queue).payload), i);
    EXPECT_EQ(queue.size(), 0U);
  }
}

// Growth with a ring that goes round, at every place where it can.
TEST_F(MessageQueues, GrowsWhereverItStands) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    MessageQueue queue(0, Bells::kNo);
    std::uint64_t puts = 0;
    std::uint64_t gets = 0;
    std::size_t largest = 1 + random() % 9000;
    for (int i = 0; i < 300; ++i) {
      if (random() % 16 < 7 + static_cast<std::uint64_t>(i > 200) * 5) {
        ASSERT_TRUE(queue.try_put(1, message(puts++, random() % largest)));
      } else if (gets < puts) {
        ASSERT_EQ(number_of(get(queue).payload), gets++);
      }
      ASSERT_EQ(queue.size(), puts - gets);
    }
    while (gets < puts) ASSERT_EQ(number_of(get(queue).payload), gets++);
  }
}

TEST_F(MessageQueues, AGrownRingIsGivenBack) {
  MessageQueue queue(0, Bells::kNo);
  for (std::uint64_t i = 0; i < 30; ++i) queue.try_put(1, message(i, 100'000));
  std::uint64_t large = commons().usage().arena.in_use;
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_EQ(number_of(get(queue).payload), i);
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(queue.try_put(1, message(i, 50)));
    ASSERT_EQ(number_of(get(queue).payload), i);
  }
  EXPECT_LT(commons().usage().arena.in_use, large);
}

TEST_F(MessageQueues, Bounded) {
  MessageQueue queue(3, Bells::kNo);
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(queue.try_put(1, message(i, 0)));
  EXPECT_FALSE(queue.try_put(1, message(3, 0)));
  EXPECT_EQ(queue.wait_for_room(base::Deadline::after(2ms)), base::Waited::kTimedOut);
  EXPECT_EQ(number_of(get(queue).payload), 0U);
  EXPECT_EQ(queue.wait_for_room(base::Deadline::never()), base::Waited::kReady);
  EXPECT_TRUE(queue.try_put(1, message(3, 0)));
  for (std::uint64_t i = 1; i < 4; ++i) EXPECT_EQ(number_of(get(queue).payload), i);
  EXPECT_EQ(queue.wait_for_message(base::Deadline::after(2ms)), base::Waited::kTimedOut);
}

TEST_F(MessageQueues, WaitersAreWoken) {
  MessageQueue there(1, Bells::kNo);
  MessageQueue back(1, Bells::kNo);
  pid_t child = in_child([&] {  // a copy uses the same objects
    for (std::uint64_t i = 0; i < 300; ++i) {
      if (i % 10 == 0) std::this_thread::sleep_for(1ms);
      put(back, number_of(get(there).payload) + 1);
    }
  });
  for (std::uint64_t i = 0; i < 300; ++i) {
    put(there, i);
    if (i % 10 == 5) std::this_thread::sleep_for(1ms);
    ASSERT_EQ(number_of(get(back).payload), i + 1);
  }
  EXPECT_EQ(wait_for(child), 0);
}

// By descriptors alone. Two each put, and get, so that one makes ready what another has just used up.
TEST_F(MessageQueues, BellsAreHeard) {
  constexpr std::uint64_t kEach = 100'000;
  MessageQueue queue(2, Bells::kYes);
  InCommon<std::atomic<std::uint64_t>> sum;
  auto await_bell = [](int bell) {
    pollfd waiting{bell, POLLIN, 0};
    ASSERT_EQ(::poll(&waiting, 1, -1), 1);
  };
  std::vector<pid_t> children;
  for (std::uint64_t which = 0; which < 2; ++which) {
    children.push_back(in_child([&] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        while (!queue.try_put(1, message(2 * i + which, 0))) await_bell(queue.room_bell());
      }
    }));
    children.push_back(in_child([&] {
      Message message;
      for (std::uint64_t i = 0; i < kEach; ++i) {
        while (!queue.try_get(message)) await_bell(queue.bell());
        *sum += number_of(message.payload);
      }
    }));
  }
  for (pid_t child : children) ASSERT_EQ(wait_for(child), 0);
  EXPECT_EQ(sum->load(), 2 * kEach * (2 * kEach - 1) / 2);
}

TEST_F(MessageQueues, Blocks) {
  MessageQueue queue(0, Bells::kNo);
  pid_t child = in_child([&] {
    for (std::uint64_t i = 0; i < 10; ++i) {
      std::array<Block, 2> blocks{commons().allocate(100'000), commons().allocate(10)};
      base::Bytes content = message(i, 99'992);
      std::memcpy(commons().bytes(blocks[0]).data(), content.data(), content.size());
      EXPECT_TRUE(queue.try_put(7, message(i, 3), blocks));
    }
    commons().allocate(1000);  // goes with its process
  });
  EXPECT_EQ(wait_for(child), 0);
  commons().sweep();
  for (std::uint64_t i = 0; i < 5; ++i) {
    Message received = get(queue);
    EXPECT_EQ(number_of(received.payload), i);
    ASSERT_EQ(received.blocks.size(), 2U);
    EXPECT_EQ(number_of(commons().bytes(received.blocks[0])), i);
    for (Block block : received.blocks) commons().release(block.offset);
  }
  // The others go with the queue.
}

TEST_F(MessageQueues, Unfinished) {
  MessageQueue queue(0, Bells::kNo);
  EXPECT_FALSE(queue.task_done());
  put(queue, 1);
  put(queue, 2);
  EXPECT_EQ(queue.unfinished(), 2U);
  EXPECT_EQ(queue.wait_for_all_done(base::Deadline::after(2ms)), base::Waited::kTimedOut);
  pid_t child = in_child([&] {
    for (int i = 0; i < 2; ++i) {
      get(queue);
      EXPECT_TRUE(queue.task_done());
    }
  });
  EXPECT_EQ(queue.wait_for_all_done(base::Deadline::never()), base::Waited::kReady);
  EXPECT_EQ(wait_for(child), 0);
  EXPECT_FALSE(queue.task_done());
}

// --- kills

constexpr int kProducers = 2;

struct Sent {
  std::array<std::atomic<std::uint64_t>, kProducers> returned{};  // put() of so many has
};

void produce(MessageQueue& queue, Sent& sent, int who, std::uint64_t next) {
  auto& returned = sent.returned[static_cast<std::size_t>(who)];
  std::mt19937_64 random(next);
  for (;; ++next) {
    std::vector<Block> blocks;
    if (random() % 64 == 0) blocks.push_back(commons().allocate(70'000));
    std::uint64_t number = next * kProducers + static_cast<std::uint64_t>(who);
    base::Bytes bytes = message(number, size_of(number));
    while (!queue.try_put(1, bytes, blocks)) queue.wait_for_room(base::Deadline::never());
    returned = next + 1;
  }
}

// Producers are killed on any line: what put() has returned for is received once, in order.
TEST_F(MessageQueues, KilledProducers) {
  for (std::uint32_t most : {20'000U, 40U}) {  // whoever receives may not get a CPU for long
    MessageQueue queue(most, Bells::kNo);
    InCommon<Sent> sent;
    std::array<std::uint64_t, kProducers> expected{};
    auto receive = [&](const Message& received) {
      for (Block block : received.blocks) commons().release(block.offset);
      std::uint64_t number = number_of(received.payload);
      std::uint64_t& next = expected[number % kProducers];
      ASSERT_EQ(number / kProducers, next);
      ++next;
    };
    std::mt19937_64 random(7);
    std::vector<pid_t> children;
    for (int who = 0; who < kProducers; ++who) {
      children.push_back(in_child([&] { produce(queue, *sent, who, 0); }));
    }
    int kills = tests::kSanitized ? 10 : 100;
    for (int i = 0; i < kills; ++i) {
      auto until = base::Deadline::after(std::chrono::microseconds(random() % 3000));
      while (!until.passed()) receive(get(queue));
      int who = i % kProducers;
      auto index = static_cast<std::size_t>(who);
      kill_and_wait(children[index]);
      // What it had put but not been told of may be there or not.
      Message received;
      while (queue.try_get(received)) receive(received);
      ASSERT_GE(expected[index], sent->returned[index]);
      ASSERT_LE(expected[index], sent->returned[index] + 1);
      sent->returned[index] = expected[index];  // the next one may be killed as early
      children[index] = in_child([&, next = expected[index]] { produce(queue, *sent, who, next); });
    }
    for (pid_t child : children) kill_and_wait(child);
    Message received;
    while (queue.try_get(received)) receive(received);
    EXPECT_EQ(queue.size(), 0U);
  }
}

constexpr std::size_t kNumbers = 1 << 22;

struct Received {
  std::array<std::atomic<std::uint8_t>, kNumbers> times{};
  std::atomic<std::uint64_t> count{0};
  std::atomic<std::uint32_t> lost{0};
};

// Consumers are killed on any line: nothing is received twice, and each takes one message along at most.
void kill_consumers(std::uint32_t most) {
  MessageQueue queue(most, Bells::kNo);
  InCommon<Received> received;
  auto consume = [&] {
    Message message;
    while (true) {
      if (!queue.try_get(message)) {
        queue.wait_for_message(base::Deadline::never());
        continue;
      }
      received->times[number_of(message.payload)].fetch_add(1);
      received->lost.fetch_add(message.lost);
      received->count.fetch_add(1);
      for (Block block : message.blocks) commons().release(block.offset);
    }
  };
  std::mt19937_64 random(9);
  std::vector<pid_t> children{in_child(consume), in_child(consume)};
  std::uint64_t puts = 0;
  std::uint64_t kills = tests::kSanitized ? 10 : 100;
  for (std::uint64_t i = 0; i < kills; ++i) {
    auto until = base::Deadline::after(std::chrono::microseconds(random() % 3000));
    while (!until.passed() && puts < kNumbers) {
      std::vector<Block> blocks;
      if (random() % 64 == 0) blocks.push_back(commons().allocate(70'000));
      base::Bytes bytes = message(puts, size_of(puts));
      while (!queue.try_put(1, bytes, blocks)) queue.wait_for_room(base::Deadline::never());
      ++puts;
    }
    pid_t& victim = children[i % 2];
    kill_and_wait(victim);
    victim = in_child(consume);
  }
  while (queue.size() > 0) std::this_thread::yield();
  for (pid_t child : children) kill_and_wait(child);
  kills += children.size();
  std::uint64_t once = 0;
  for (std::uint64_t i = 0; i < puts; ++i) {
    ASSERT_LE(received->times[i], 1) << i;
    once += received->times[i];
  }
  EXPECT_GE(once + kills, puts);
  EXPECT_LE(received->lost, puts - once) << "what is told to be lost is";
}

TEST_F(MessageQueues, KilledConsumers) { kill_consumers(200); }

// Nobody else may put anything, or find anything, before that one message is known to be gone.
TEST_F(MessageQueues, KilledConsumersOfOneMessage) { kill_consumers(1); }

// All at once, and growth: nobody hangs, and what is left is whole.
TEST_F(MessageQueues, KillsOnAnyLine) {
  MessageQueue queue(0, Bells::kNo);
  auto churn = [&] {
    std::mt19937_64 random(static_cast<std::uint64_t>(::getpid()));
    Message received;
    std::uint64_t number = 0;
    while (true) {
      std::uint64_t burst = random() % 64 == 0 ? 400 : random() % 8;
      for (std::uint64_t i = 0; i < burst; ++i, ++number) {
        std::vector<Block> blocks;
        while (random() % 4 == 0 && blocks.size() < MessageQueue::kMostBlocks) {
          blocks.push_back(commons().allocate(1000));
        }
        queue.try_put(1, message(number, random() % 300), blocks);
      }
      for (std::uint64_t i = 0; i < burst + 1; ++i) {
        if (!queue.try_get(received)) break;
        number_of(received.payload);
        for (Block block : received.blocks) commons().release(block.offset);
      }
    }
  };
  std::mt19937_64 random(13);
  std::vector<pid_t> children{in_child(churn), in_child(churn), in_child(churn)};
  for (int i = 0; i < (tests::kSanitized ? 10 : 150); ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    pid_t& victim = children[static_cast<std::size_t>(i % 3)];
    kill_and_wait(victim);
    if (i % 2 == 0) commons().sweep();  // who buries the dead may be faster than who uses the queue
    put(queue, 1);
    Message received = get(queue);
    for (Block block : received.blocks) commons().release(block.offset);
    victim = in_child(churn);
  }
  for (pid_t child : children) kill_and_wait(child);
  Message received;
  while (queue.try_get(received)) {
    for (Block block : received.blocks) commons().release(block.offset);
  }
  EXPECT_EQ(queue.size(), 0U);
  put(queue, 17);
  EXPECT_EQ(number_of(get(queue).payload), 17U);
}

// --- memory that somebody else has written to

TEST_F(MessageQueues, CorruptedMemoryRaises) {
  MessageQueue queue(0, Bells::kNo);
  QueueMemory::Ring& ring = QueueMemory::of(queue).rings[0];
  std::span<std::byte> bytes = commons().bytes({ring.offset, ring.capacity});
  queue.try_put(1, message(1, 10));
  auto* words = reinterpret_cast<std::uint32_t*>(bytes.data());
  std::uint32_t length = std::exchange(words[2], 1 << 30);
  Message received;
  EXPECT_THROW(queue.try_get(received), std::runtime_error);
  words[2] = length;
  std::uint32_t mark = std::exchange(words[0], 3);
  EXPECT_THROW(queue.try_get(received), std::runtime_error);
  words[0] = mark;
  EXPECT_TRUE(queue.try_get(received)) << "no lock is left locked";
}

// A message that is longer than the ring, and a place for it that can't be.
TEST_F(MessageQueues, AWrongHeadLetsNothingGoBeyondTheRing) {
  MessageQueue queue(0, Bells::kNo);
  QueueMemory::of(queue).rings[0].seen_head = 30'000;
  EXPECT_TRUE(queue.try_put(1, message(1, 20'000)));
  EXPECT_EQ(number_of(get(queue).payload), 1U);
}

TEST_F(MessageQueues, AMoveThatFailsLeavesNoMemoryBehind) {
  MessageQueue queue(0, Bells::kNo);
  for (std::uint64_t i = 0; i < 3; ++i) queue.try_put(1, message(i, 5000));
  for (std::uint64_t i = 0; i < 2; ++i) ASSERT_EQ(number_of(get(queue).payload), i);
  queue.try_put(1, message(3, 5000));  // at the front
  QueueMemory::Ring& ring = QueueMemory::of(queue).rings[0];
  std::byte* bytes = commons().bytes({ring.offset, ring.capacity}).data();
  std::uint32_t& mark = *reinterpret_cast<std::uint32_t*>(bytes + ring.head);
  std::uint32_t right = std::exchange(mark, 3);
  std::uint64_t before = commons().usage().arena.in_use;
  for (int i = 0; i < 3; ++i) {
    EXPECT_THROW(queue.try_put(1, message(4, 100'000)), std::runtime_error);
  }
  EXPECT_EQ(commons().usage().arena.in_use, before);
  mark = right;
  for (std::uint64_t i = 2; i < 4; ++i) EXPECT_EQ(number_of(get(queue).payload), i);
}

// What the dead have noted is not to be trusted either.
TEST_F(MessageQueues, RepairsLookAtWhatTheyRead) {
  MessageQueue queue(0, Bells::kNo);
  QueueMemory& memory = QueueMemory::of(queue);
  die_with(memory.put_mutex);
  memory.puts.putter = commons().ticket();
  memory.puts.putter_at = 13;
  EXPECT_THROW(queue.try_put(1, {}), std::runtime_error);
  die_with(memory.get_mutex);
  memory.gets.is_taking = 1;
  memory.rings[0].head = memory.rings[0].capacity - 8;  // there is no room for a message
  memory.rings[0].tail = memory.rings[0].capacity;
  Message received;
  EXPECT_THROW(queue.try_get(received), std::runtime_error);
}

TEST_F(MessageQueues, RandomCorruptionNeverCrashes) {
  std::mt19937_64 random(17);
  for (int round = 0; round < (tests::kSanitized ? 300 : 3000); ++round) {
    MessageQueue queue(0, Bells::kNo);
    for (std::uint64_t i = 0; i < random() % 100; ++i) queue.try_put(1, message(i, random() % 300));
    Message received;
    for (std::uint64_t i = 0; i < random() % 50; ++i) queue.try_get(received);
    auto& rings = QueueMemory::of(queue).rings;
    auto before = rings;
    std::span<std::byte> bytes =
        commons().bytes({rings[0].offset ? rings[0].offset : rings[1].offset,
                         std::max(rings[0].capacity, rings[1].capacity)});
    for (std::uint64_t i = 0; i < 1 + random() % 8; ++i) {
      if (random() % 2) {
        auto* head = reinterpret_cast<std::byte*>(rings.data());
        head[random() % sizeof rings] = static_cast<std::byte>(random());
      } else {
        bytes[random() % bytes.size()] = static_cast<std::byte>(random());
      }
    }
    try {
      for (int i = 0; i < 200; ++i) {
        if (random() % 3 == 0) queue.try_put(1, message(1, random() % 300));
        queue.try_get(received);
      }
    } catch (const std::runtime_error&) {
    } catch (const std::bad_alloc&) {
    }
    // So that it ends as it began: the ring's block goes with the queue.
    for (const QueueMemory::Ring& ring : before) {
      if (ring.offset) commons().release(ring.offset);
    }
    rings[0].offset = rings[1].offset = 0;
  }
}

}  // namespace
}  // namespace procession::shm
