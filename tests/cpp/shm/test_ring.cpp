// SPDX-License-Identifier: Apache-2.0
#include "shm/ring.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/pidfd.hpp"

namespace procession::shm {
namespace {

// A ring in memory that children share.
class Shared {
 public:
  explicit Shared(std::size_t size) : mapped_(4096 + size) {
    start_ = static_cast<std::byte*>(
        ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    memory_ = {new (start_) RingControl, {start_ + 4096, size}};
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(start_, mapped_); }

  RingMemory memory() const { return memory_; }
  RingControl& control() const { return *memory_.control; }
  void put(std::uint64_t at, std::uint64_t word) const {
    std::memcpy(memory_.data.data() + at % memory_.data.size(), &word, sizeof word);
  }

 private:
  std::size_t mapped_;
  std::byte* start_ = nullptr;
  RingMemory memory_;
};

// The record of a number: its size and content follow from it.
std::size_t size_of(std::uint64_t number, std::size_t largest) {
  std::uint64_t mixed = (number + 1) * 0x9e3779b97f4a7c15;
  mixed ^= mixed >> 29;
  std::size_t size = mixed % 7 == 0 ? mixed % (largest + 1) : mixed % 100;
  return std::min(size, largest);
}

void fill(std::vector<std::byte>& record, std::uint64_t number, std::size_t largest) {
  record.resize(size_of(number, largest));
  for (std::size_t i = 0; i < record.size(); ++i) record[i] = static_cast<std::byte>(number + i);
}

bool is_record(base::BytesView record, std::uint64_t number, std::size_t largest) {
  if (record.size() != size_of(number, largest)) return false;
  for (std::size_t i = 0; i < record.size(); ++i) {
    if (record[i] != static_cast<std::byte>(number + i)) return false;
  }
  return true;
}

void write_all(RingWriter& writer, std::uint64_t count, std::size_t largest) {
  std::vector<std::byte> record;
  for (std::uint64_t number = 0; number < count; ++number) {
    fill(record, number, largest);
    base::BytesView bytes(record);
    std::size_t middle = record.size() / 3;
    while (!writer.try_write({bytes.first(middle), bytes.subspan(middle)})) ::sched_yield();
  }
}

using Ring = tests::LeavesNothing;

TEST_F(Ring, KeepsTheOrder) {
  Shared shared(4096);
  RingWriter writer(shared.memory());
  RingReader reader(shared.memory());
  EXPECT_FALSE(reader.has_record());
  EXPECT_FALSE(reader.peek());
  EXPECT_TRUE(writer.try_write({base::as_bytes("one")}));
  EXPECT_TRUE(writer.try_write({base::as_bytes("tw"), {}, base::as_bytes("o")}));
  EXPECT_TRUE(reader.has_record());
  EXPECT_EQ(base::as_text(*reader.peek()), "one");
  EXPECT_EQ(base::as_text(*reader.peek()), "one");
  reader.pop();
  EXPECT_EQ(base::as_text(*reader.peek()), "two");
  reader.pop();
  EXPECT_FALSE(reader.peek());
  EXPECT_FALSE(reader.has_record());
  EXPECT_EQ(writer.used(), 0u);
}

TEST_F(Ring, CarriesEmptyRecords) {
  Shared shared(64);
  RingWriter writer(shared.memory());
  RingReader reader(shared.memory());
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(writer.try_write({}));
    auto record = reader.peek();
    ASSERT_TRUE(record);
    EXPECT_TRUE(record->empty());
    reader.pop();
  }
}

TEST_F(Ring, CarriesMarks) {
  Shared shared(256);
  RingWriter writer(shared.memory());
  RingReader reader(shared.memory());
  for (std::uint32_t i = 0; i < 100; ++i) {
    std::uint32_t mark = i % 3 == 0 ? 0 : ~std::uint32_t{0} - i;
    ASSERT_TRUE(writer.try_begin(i % 40, mark));
    writer.publish();
    auto record = reader.peek();
    ASSERT_TRUE(record);
    EXPECT_EQ(record->size(), i % 40);
    EXPECT_EQ(reader.mark(), mark);
    reader.pop();
  }
}

TEST_F(Ring, RefusesWhatHasNoRoom) {
  Shared shared(1024);
  RingWriter writer(shared.memory());
  RingReader reader(shared.memory());
  int written = 0;
  while (writer.try_write({base::as_bytes("12345678")})) ++written;
  EXPECT_EQ(written, 64);
  EXPECT_EQ(writer.used(), 1024u);
  EXPECT_FALSE(writer.try_write({}));
  reader.peek();
  reader.pop();
  EXPECT_TRUE(writer.try_write({base::as_bytes("12345678")}));
  EXPECT_FALSE(writer.try_write({}));
  for (int i = 0; i < 64; ++i) {
    ASSERT_TRUE(reader.peek());
    reader.pop();
  }
  EXPECT_FALSE(reader.peek());
}

TEST_F(Ring, TheLargestFindsRoomAnywhere) {
  Shared shared(1024);
  RingWriter writer(shared.memory());
  RingReader reader(shared.memory());
  std::vector<std::byte> large(writer.largest(), std::byte{9});
  for (std::size_t before = 0; before < 300; ++before) {
    ASSERT_TRUE(writer.try_write({base::BytesView(large).first(before)}));
    ASSERT_TRUE(reader.peek());
    reader.pop();
    ASSERT_TRUE(writer.try_write({large})) << before;
    auto record = reader.peek();
    ASSERT_TRUE(record);
    EXPECT_TRUE(std::ranges::equal(*record, large));
    reader.pop();
  }
  std::vector<std::byte> too_large(2000);
  EXPECT_FALSE(writer.try_write({too_large}));
}

TEST_F(Ring, GoesRound) {
  Shared shared(4096);
  RingWriter writer(shared.memory());
  RingReader reader(shared.memory());
  std::mt19937 random(5);
  std::vector<std::byte> record;
  std::uint64_t written = 0;
  std::uint64_t read = 0;
  while (read < 100'000) {
    for (std::uint32_t i = random() % 20; i > 0; --i) {
      fill(record, written, writer.largest());
      if (!writer.try_write({record})) break;
      ++written;
    }
    for (std::uint32_t i = random() % 20; i > 0 && read < written; --i) {
      auto found = reader.peek();
      ASSERT_TRUE(found);
      ASSERT_TRUE(is_record(*found, read, writer.largest())) << read;
      reader.pop();
      ++read;
    }
  }
}

// Ends that come later go on where the ring is.
TEST_F(Ring, NewEndsGoOn) {
  Shared shared(256);
  for (int i = 0; i < 100; ++i) {
    RingWriter writer(shared.memory());
    RingReader reader(shared.memory());
    EXPECT_TRUE(writer.try_write({base::as_bytes("again")}));
    EXPECT_EQ(base::as_text(*reader.peek()), "again");
    reader.pop();
  }
}

TEST_F(Ring, CorruptionIsAnException) {
  constexpr std::uint64_t kFront = ~std::uint64_t{0};
  auto expect_corrupted = [](std::uint64_t tail, std::vector<std::uint64_t> words) {
    Shared shared(256);
    for (std::size_t i = 0; i < words.size(); ++i) shared.put(i * 8, words[i]);
    shared.control().tail = tail;
    RingReader reader(shared.memory());
    EXPECT_THROW(reader.peek(), std::runtime_error) << tail;
    EXPECT_THROW(reader.peek(), std::runtime_error) << tail;
  };
  expect_corrupted(257, {0});                // more than there can be
  expect_corrupted(~std::uint64_t{0}, {0});  // less than was read
  expect_corrupted(4, {0});                  // less than a length
  expect_corrupted(8, {1});                  // shorter than its length
  expect_corrupted(16, {9});
  expect_corrupted(256, {249});  // beyond the end
  expect_corrupted(256, {256});
  expect_corrupted(256, {~std::uint64_t{0} - 1});  // which overflows when it's rounded
  expect_corrupted(256, {~std::uint64_t{0} - 8});
  expect_corrupted(256, {kFront});    // nothing at the front
  expect_corrupted(16, {kFront, 0});  // that wasn't published
}

TEST_F(Ring, GarbageIsNeverACrash) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 20'000; ++round) {
    Shared shared(256);
    for (std::uint64_t at = 0; at < 256; at += 8) {
      std::uint64_t choice = random() % 4;
      shared.put(at, choice == 0   ? random()
                     : choice == 1 ? random() % 300
                     : choice == 2 ? random() % 16
                                   : ~std::uint64_t{0});
    }
    shared.control().head = random() % 64 * 8;
    RingReader reader(shared.memory());
    shared.control().tail = shared.control().head + random() % 280;
    try {
      for (int i = 0; i < 100; ++i) {
        auto record = reader.peek();
        if (!record) break;
        ASSERT_GE(record->data(), shared.memory().data.data());
        ASSERT_LE(record->data() + record->size(), shared.memory().data.data() + 256);
        reader.pop();
      }
    } catch (const std::runtime_error&) {
    }
  }
}

void read_all(RingReader& reader, std::uint64_t count, std::size_t largest) {
  for (std::uint64_t number = 0; number < count;) {
    auto record = reader.peek();
    if (!record) {
      ::sched_yield();
      continue;
    }
    ASSERT_TRUE(is_record(*record, number, largest)) << number;
    reader.pop();
    ++number;
  }
}

const std::uint64_t kMany = tests::kSanitized ? 50'000 : 500'000;

TEST_F(Ring, TwoThreads) {
  Shared shared(1 << 14);
  RingReader reader(shared.memory());
  std::thread thread([&] {
    RingWriter writer(shared.memory());
    write_all(writer, kMany, writer.largest() / 8);
  });
  read_all(reader, kMany, RingWriter(shared.memory()).largest() / 8);
  thread.join();
  EXPECT_FALSE(reader.peek());
}

TEST_F(Ring, TwoProcesses) {
  Shared shared(1 << 14);
  RingReader reader(shared.memory());
  RingWriter writer(shared.memory());
  pid_t pid = os::fork_process();
  if (pid == 0) {
    ::alarm(100);
    write_all(writer, kMany, writer.largest() / 8);
    ::_exit(0);
  }
  read_all(reader, kMany, writer.largest() / 8);
  ::waitpid(pid, nullptr, 0);
  EXPECT_FALSE(reader.peek());
}

// Positions are those of records, whoever wrote the one that a reader begins with.
TEST_F(Ring, AHeadWithinAWordIsAnException) {
  Shared shared(256);
  shared.control().head.store(251);
  shared.control().tail.store(264);
  RingReader reader(shared.memory());
  EXPECT_THROW(reader.peek(), std::runtime_error);
}

// The reader sees whole records up to some number, and nothing else.
TEST_F(Ring, AKilledWriterLeavesAPrefix) {
  std::mt19937 random(1);
  for (int round = 0; round < (tests::kSanitized ? 20 : 200); ++round) {
    Shared shared(1 << 12);
    RingReader reader(shared.memory());
    RingWriter writer(shared.memory());
    std::size_t largest = writer.largest();
    pid_t pid = os::fork_process();
    if (pid == 0) {
      ::alarm(100);
      write_all(writer, ~std::uint64_t{0}, largest);
    }
    std::uint64_t stop_at = random() % 2000;
    std::uint64_t number = 0;
    bool killed = false;
    while (true) {
      auto record = reader.peek();
      if (record) {
        ASSERT_TRUE(is_record(*record, number, largest)) << number;
        reader.pop();
        ++number;
      } else if (killed) {
        break;
      }
      if (!killed && number >= stop_at) {
        os::end_child(pid);
        killed = true;
      }
    }
    EXPECT_GE(number, stop_at);
  }
}

}  // namespace
}  // namespace procession::shm
