// SPDX-License-Identifier: Apache-2.0
#include "shm/arena.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "leftovers.hpp"
#include "os/clone.hpp"
#include "shm/forks.hpp"

namespace procession::shm {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// Pages that exist, in bytes.
std::uint64_t resident(const Arena& arena) {
  struct stat status {};
  EXPECT_EQ(::fstat(arena.memory().get(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

// Every 8 bytes tell the seed and where they are.
void fill(std::span<std::byte> bytes, std::uint64_t seed) {
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t value = seed * 0x9e3779b97f4a7c15 + at;
    std::memcpy(bytes.data() + at, &value, 8);
  }
}

bool is_filled(std::span<const std::byte> bytes, std::uint64_t seed) {
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, 8);
    if (value != seed * 0x9e3779b97f4a7c15 + at) return false;
  }
  return true;
}

template <class Body>
void and_wait(Body body) {
  EXPECT_EQ(wait_for(in_child(body)), 0);
}

int error_of(auto&& call) {
  try {
    call();
  } catch (const base::OsError& error) {
    return error.error_number();
  }
  return 0;
}

class ArenaTest : public tests::LeavesNothing {};

TEST_F(ArenaTest, AFreedBlockIsWarm) {
  Arena arena = Arena::create();
  Block first = arena.allocate(100 * kMiB + 1);
  EXPECT_EQ(first.size, 100 * kMiB + 1);
  EXPECT_EQ(first.offset % 64, 0U);
  fill(arena.bytes(first), 1);
  std::uint64_t before = resident(arena);
  for (int i = 0; i < 100; ++i) {
    arena.release(first.offset);
    EXPECT_EQ(arena.allocate(100 * kMiB + 1), first);
  }
  EXPECT_EQ(resident(arena), before);
  EXPECT_TRUE(is_filled(arena.bytes(first), 1));
}

TEST_F(ArenaTest, SizesInTurnComeToRest) {
  Arena arena = Arena::create();
  std::uint64_t after_first_round = 0;
  for (int round = 0; round < 20; ++round) {
    std::deque<Block> blocks;
    for (std::uint64_t size : {64 << 10, 3 << 20, 100 << 10, 20 << 20, 65 << 10, 1 << 20}) {
      blocks.push_back(arena.allocate(size));
      if (blocks.size() > 3) {
        arena.release(blocks.front().offset);
        blocks.pop_front();
      }
    }
    for (Block block : blocks) arena.release(block.offset);
    if (round == 0) after_first_round = resident(arena);
  }
  EXPECT_LE(resident(arena), after_first_round);
}

TEST_F(ArenaTest, AnArenaWithoutBlocksIsSmall) {
  Arena arena = Arena::create();
  EXPECT_GE(arena.capacity(), Arena::kSmallest);
  EXPECT_EQ(arena.capacity(), Arena::kCapacity);
  EXPECT_LE(resident(arena), 16U << 10);
  Block block = arena.allocate(64 << 10);
  EXPECT_LE(resident(arena), 128U << 10);
  EXPECT_EQ(arena.usage().in_use, 64U << 10);
  arena.release(block.offset);
  EXPECT_EQ(arena.usage().in_use, 0U);
  EXPECT_EQ(arena.usage().warm, 64U << 10);
}

TEST_F(ArenaTest, NoSizeIsTooSmall) {
  Arena arena = Arena::create(16 * kMiB);
  Block empty = arena.allocate(0);
  Block one = arena.allocate(1);
  EXPECT_NE(empty.offset, one.offset);
  EXPECT_TRUE(arena.bytes(empty).empty());
  EXPECT_EQ(arena.find(one.offset), one);
  arena.release(empty.offset);
  arena.release(one.offset);
}

TEST_F(ArenaTest, OffsetsAndSizesBeyond4GiB) {
  Arena arena = Arena::create();
  if (arena.capacity() < 64 * kGiB) GTEST_SKIP() << "no address space";
  os::SharedMapping mapping(arena.memory());
  auto& header = *reinterpret_cast<Header*>(mapping.bytes().data());
  auto* slots = reinterpret_cast<Slot*>(mapping.bytes().data() + 4096);
  for (std::uint64_t i = 0; i < 8 * kGiB / header.slot_size; ++i) slots[i].owner = 1000;
  Block far = arena.allocate(kMiB);
  EXPECT_GE(far.offset, 8 * kGiB);
  fill(arena.bytes(far), 1);
  EXPECT_TRUE(is_filled(mapping.bytes().subspan(far.offset, far.size), 1));

  auto available = static_cast<std::uint64_t>(::sysconf(_SC_AVPHYS_PAGES)) * 4096;
  if (available < 10 * kGiB) GTEST_SKIP() << "no memory";
  Block large = arena.allocate(4 * kGiB + 3);
  EXPECT_EQ(arena.find(large.offset), large);
  EXPECT_EQ(arena.usage().in_use, 4 * kGiB + Arena::kUnit + kMiB);
  arena.bytes(large).back() = std::byte{7};
  EXPECT_EQ(mapping.bytes()[large.offset + 4 * kGiB + 2], std::byte{7});
  EXPECT_TRUE(is_filled(arena.bytes(far), 1));
  arena.release(large.offset);
  EXPECT_EQ(arena.allocate(4 * kGiB + 3), large);
}

TEST_F(ArenaTest, AnotherProcessReleases) {
  Arena arena = Arena::create(64 * kMiB);
  Block block = arena.allocate(kMiB);
  fill(arena.bytes(block), 7);
  and_wait([&] {
    Arena joined(os::duplicate(arena.memory().get()), 1);
    EXPECT_TRUE(is_filled(joined.bytes(joined.find(block.offset)), 7));
    joined.hand_over(block, 1);
    joined.release(block.offset);
  });
  EXPECT_THROW(arena.find(block.offset), std::runtime_error);
  EXPECT_EQ(arena.allocate(kMiB), block);
}

TEST_F(ArenaTest, APartyHasRoomOfItsOwn) {
  Arena arena = Arena::create(64 * kMiB);
  Block ours = arena.allocate(kMiB);
  fill(arena.bytes(ours), 1);
  and_wait([&] {
    arena.rejoin(1);
    Block block = arena.allocate(kMiB);
    EXPECT_NE(block.offset, ours.offset);
    fill(arena.bytes(block), 2);
    arena.hand_over(block, 0);
  });
  EXPECT_EQ(arena.usage().in_use, 2 * kMiB);
  arena.reclaim(1);
  EXPECT_EQ(arena.usage().in_use, 2 * kMiB) << "it was handed over";
  EXPECT_TRUE(is_filled(arena.bytes(ours), 1));
}

TEST_F(ArenaTest, ReclaimReleasesWhatAKilledProcessHeld) {
  Arena arena = Arena::create(256 * kMiB);
  Block lent = arena.allocate(2 * kMiB);
  Block kept = arena.allocate(2 * kMiB);
  std::array<int, 2> told{};
  ASSERT_EQ(::pipe2(told.data(), O_CLOEXEC), 0);
  pid_t pid = in_child([&] {
    arena.rejoin(5);
    arena.hand_over(lent, 5);
    std::array<Block, 3> blocks{arena.allocate(kMiB), arena.allocate(9 * kMiB),
                                arena.allocate(kMiB)};
    fill(arena.bytes(blocks[1]), 3);
    arena.hand_over(blocks[1], 0);
    EXPECT_EQ(::write(told[1], blocks.data(), sizeof blocks), ssize_t{sizeof blocks});
    while (true) ::pause();
  });
  std::array<Block, 3> theirs;
  ASSERT_EQ(::read(told[0], theirs.data(), sizeof theirs), ssize_t{sizeof theirs});
  for (int fd : told) ::close(fd);
  ::kill(pid, SIGKILL);
  wait_for(pid);

  EXPECT_EQ(arena.usage().in_use, 15 * kMiB);
  arena.reclaim(5);
  EXPECT_EQ(arena.usage().in_use, 11 * kMiB);
  EXPECT_THROW(arena.find(lent.offset), std::runtime_error);
  EXPECT_THROW(arena.find(theirs[0].offset), std::runtime_error);
  EXPECT_TRUE(is_filled(arena.bytes(theirs[1]), 3));
  EXPECT_EQ(arena.find(kept.offset), kept);

  arena.release(theirs[1].offset);
  arena.release(kept.offset);
  arena.trim(0);
  EXPECT_EQ(arena.usage().in_use, 0U);
  EXPECT_EQ(arena.usage().warm, 0U);
  // Its number is free.
  and_wait([&] {
    arena.rejoin(5);
    arena.release(arena.allocate(kMiB).offset);
  });
  arena.reclaim(5);
}

// What a kill between two stores leaves behind.
TEST_F(ArenaTest, WhatWasCutShortIsFound) {
  constexpr std::size_t kWordsAt = 8192;
  Arena arena = Arena::create(16 * kMiB);
  os::SharedMapping mapping(arena.memory());
  auto* words = reinterpret_cast<Word*>(mapping.bytes().data() + kWordsAt);
  auto* slots = reinterpret_cast<Slot*>(mapping.bytes().data() + 4096);

  Block block = arena.allocate(10 * kMiB);
  Word& word = words[block.offset / Arena::kUnit];
  EXPECT_EQ(word & 3, 1U);
  word += 1;  // released, but nobody told the owner
  EXPECT_EQ(error_of([&] { arena.allocate(10 * kMiB); }), ENOMEM);
  arena.reclaim(1);
  EXPECT_EQ(arena.allocate(10 * kMiB), block);

  EXPECT_EQ(slots[12].owner, 0U);
  slots[12].owner = 2;  // party 1 was about to own it
  EXPECT_EQ(error_of([&] { arena.allocate(4 * kMiB); }), ENOMEM);
  arena.reclaim(1);
  arena.allocate(4 * kMiB);
}

TEST_F(ArenaTest, ReclaimIsForTheParent) {
  Arena arena = Arena::create(16 * kMiB);
  EXPECT_THROW(arena.reclaim(0), std::invalid_argument);
  EXPECT_THROW(arena.reclaim(Arena::kParties), std::invalid_argument);
  Arena other(os::duplicate(arena.memory().get()), Arena::kParties - 1);
  EXPECT_THROW(other.reclaim(other.party()), std::invalid_argument);
  EXPECT_THROW(Arena(os::duplicate(arena.memory().get()), -1), std::invalid_argument);
}

TEST_F(ArenaTest, OffsetsThatAreNoneAreRefused) {
  Arena arena = Arena::create(256 * kMiB);
  Block block = arena.allocate(3 * kMiB);
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  std::mt19937_64 random(1);
  for (std::uint64_t offset :
       {std::uint64_t{0}, std::uint64_t{4096}, block.offset + 1, block.offset + Arena::kUnit,
        block.offset + 4 * kMiB, arena.capacity(), arena.capacity() - Arena::kUnit,
        kMost - Arena::kUnit + 1, kMost, random(), random() % arena.capacity()}) {
    EXPECT_THROW(arena.find(offset), std::runtime_error) << offset;
    EXPECT_THROW(arena.release(offset), std::runtime_error) << offset;
    EXPECT_THROW(arena.hand_over({offset, 1}, 1), std::runtime_error) << offset;
    EXPECT_THROW(arena.bytes({offset, 1}), std::runtime_error) << offset;
  }
  EXPECT_THROW(arena.bytes({block.offset, 3 * kMiB + 1}), std::runtime_error);
  EXPECT_THROW(arena.bytes({block.offset, kMost}), std::runtime_error);
  arena.release(block.offset);
  EXPECT_THROW(arena.release(block.offset), std::runtime_error) << "released twice";
}

// Every byte of what describes the blocks is overwritten, as a stray pointer would.
TEST_F(ArenaTest, CorruptedWordsCrashNobody) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 20; ++round) {
    Arena arena = Arena::create(64 * kMiB);
    std::deque<Block> blocks;
    for (int i = 0; i < 10; ++i) blocks.push_back(arena.allocate(kMiB));
    os::SharedMapping mapping(arena.memory());
    constexpr std::size_t kWordsAt = 8192;
    for (std::size_t at = kWordsAt; at < kWordsAt + 64 * kMiB / Arena::kUnit * 8; at += 8) {
      std::uint64_t word = random() >> random() % 64;
      std::memcpy(mapping.bytes().data() + at, &word, 8);
    }
    for (Block block : blocks) {
      try {
        std::span<std::byte> bytes = arena.bytes(arena.find(block.offset));
        EXPECT_LE(bytes.data() + bytes.size() - arena.bytes({block.offset, 0}).data(),
                  static_cast<std::ptrdiff_t>(arena.capacity()));
        arena.release(block.offset);
      } catch (const std::runtime_error&) {
      }
    }
    (void)arena.usage();
    arena.reclaim(1);
    arena.trim(0);
  }
}

TEST_F(ArenaTest, AFileThatIsNoneIsRefused) {
  EXPECT_THROW(Arena(os::create_memfd("test"), 1), std::runtime_error);
  EXPECT_THROW(Arena(os::create_sparse_memfd("test", 16 * kMiB), 1), std::runtime_error);
  EXPECT_THROW(Arena::create_in(os::create_sparse_memfd("test", 3 * kMiB)), std::invalid_argument);
}

TEST_F(ArenaTest, AFullArenaIsENOMEM) {
  Arena arena = Arena::create(16 * kMiB);
  EXPECT_EQ(error_of([&] { arena.allocate(17 * kMiB); }), ENOMEM);
  EXPECT_EQ(error_of([&] { arena.allocate(std::numeric_limits<std::size_t>::max()); }), ENOMEM);
  Block block = arena.allocate(10 * kMiB);
  EXPECT_EQ(error_of([&] { arena.allocate(10 * kMiB); }), ENOMEM);
  fill(arena.bytes(block), 1);
  EXPECT_TRUE(is_filled(arena.bytes(block), 1));
  arena.release(block.offset);
  EXPECT_EQ(arena.allocate(10 * kMiB), block);
}

TEST_F(ArenaTest, SlotsGoBackToAll) {
  Arena arena = Arena::create(16 * kMiB);
  arena.release(arena.allocate(15 * kMiB).offset);
  auto allocate_all = [&] {
    arena.rejoin(1);
    arena.allocate(15 * kMiB);
  };
  and_wait([&] { EXPECT_EQ(error_of(allocate_all), ENOMEM); });
  arena.trim(0);
  and_wait([&] { EXPECT_EQ(error_of(allocate_all), 0); });
  arena.reclaim(1);
  arena.allocate(15 * kMiB);
}

// A file system of 8 MiB, which really is full: the kernel says ENOSPC.
TEST_F(ArenaTest, FullMemoryIsENOMEM) {
  char folder[] = "/tmp/procession-arena-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  int status = wait_for(in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0) {
      std::string user = "0 " + std::to_string(::geteuid()) + " 1";
      std::string group = "0 " + std::to_string(::getegid()) + " 1";
      if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ::_exit(77);
      std::ofstream("/proc/self/setgroups") << "deny";
      std::ofstream("/proc/self/uid_map") << user;
      std::ofstream("/proc/self/gid_map") << group;
    }
    ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    if (::mount("tmpfs", folder, "tmpfs", 0, "size=8m") != 0) ::_exit(77);
    os::Fd file(::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file.valid()) ::_exit(77);
    ASSERT_EQ(::ftruncate(file.get(), 64 * kMiB), 0);
    Arena arena = Arena::create_in(std::move(file));
    Block block = arena.allocate(5 * kMiB);
    fill(arena.bytes(block), 1);
    std::uint64_t before = resident(arena);
    EXPECT_EQ(error_of([&] { arena.allocate(4 * kMiB); }), ENOMEM);
    EXPECT_LE(resident(arena), before + 8192) << "of what there was no use for, words stay";
    Block small = arena.allocate(2 * kMiB);
    fill(arena.bytes(small), 2);
    EXPECT_TRUE(is_filled(arena.bytes(block), 1));
    // Warm pages that lie elsewhere make room.
    arena.release(block.offset);
    Block large = arena.allocate(5 * kMiB + 600 * 1024);
    fill(arena.bytes(large), 3);
    EXPECT_TRUE(is_filled(arena.bytes(small), 2));
    // Another party finds no memory for its first slot, and none of it is left behind.
    pid_t pid = in_child([&] {
      arena.rejoin(1);
      EXPECT_EQ(error_of([&] { arena.allocate(kMiB); }), ENOMEM);
    });
    EXPECT_EQ(wait_for(pid), 0);
  }));
  ::rmdir(folder);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "may not mount";
  EXPECT_EQ(status, 0);
}

TEST_F(ArenaTest, LimitsMakeItSmaller) {
  auto under = [](auto resource, std::uint64_t bytes, std::uint64_t at_most) {
    and_wait([=] {
      struct rlimit limit {
        bytes, bytes
      };
      ASSERT_EQ(::setrlimit(resource, &limit), 0);
      Arena arena = Arena::create();
      EXPECT_LE(arena.capacity(), at_most);
      fill(arena.bytes(arena.allocate(kMiB)), 1);
    });
  };
  under(RLIMIT_FSIZE, 100 * kMiB, 64 * kMiB);
  std::uint64_t mapped = 0;  // pages: the session's memory may be there
  std::ifstream("/proc/self/statm") >> mapped;
  std::uint64_t space = mapped * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) + 4 * kGiB;
  if (!tests::kSanitized) under(RLIMIT_AS, space, std::min(space / 4, 4 * kGiB));
  and_wait([] {
    struct rlimit limit {
      kMiB, kMiB
    };
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    EXPECT_EQ(error_of([] { Arena::create(); }), EFBIG);
  });
}

TEST_F(ArenaTest, TrimGivesPagesBack) {
  Arena arena = Arena::create();
  std::deque<Block> blocks;
  for (int i = 0; i < 8; ++i) blocks.push_back(arena.allocate(10 * kMiB));
  for (Block block : blocks) fill(arena.bytes(block), block.offset);
  for (int i = 0; i < 8; ++i) {
    if (i != 3) arena.release(blocks[i].offset);
  }
  std::uint64_t before = resident(arena);
  arena.trim();
  EXPECT_EQ(resident(arena), before) << "so much is kept";
  arena.trim(25 * kMiB);
  EXPECT_EQ(arena.usage().warm, 25 * kMiB);
  EXPECT_EQ(resident(arena), before - 45 * kMiB);
  arena.trim(0);
  EXPECT_EQ(resident(arena), before - 70 * kMiB);
  EXPECT_EQ(arena.usage().in_use, 10 * kMiB);
  EXPECT_EQ(arena.usage().warm, 0U);
  EXPECT_TRUE(is_filled(arena.bytes(blocks[3]), blocks[3].offset));
  Block again = arena.allocate(10 * kMiB);
  fill(arena.bytes(again), 9);
  EXPECT_TRUE(is_filled(arena.bytes(blocks[3]), blocks[3].offset));
}

TEST_F(ArenaTest, ThreadsRelease) {
  Arena arena = Arena::create(256 * kMiB);
  for (int round = 0; round < 20; ++round) {
    std::array<Block, 64> blocks;
    for (Block& block : blocks) block = arena.allocate(64 << 10);
    auto release = [&](std::size_t first) {
      for (std::size_t i = first; i < blocks.size(); i += 2) {
        EXPECT_EQ(arena.find(blocks[i].offset), blocks[i]);
        arena.bytes(blocks[i])[0] = std::byte{1};
        arena.release(blocks[i].offset);
      }
    };
    std::thread even(release, 0);
    std::thread odd(release, 1);
    for (int i = 0; i < 64; ++i) {  // what the owner collects meanwhile, it writes
      Block block = arena.allocate(64 << 10);
      arena.bytes(block)[0] = std::byte{2};
      arena.release(block.offset);
    }
    even.join();
    odd.join();
  }
  EXPECT_EQ(arena.usage().in_use, 0U);
}

TEST_F(ArenaTest, CopiesAreTrue) {
  std::vector<std::byte> from(3 * kMiB + 100);
  fill(from, 1);
  std::vector<std::byte> to(from.size() + 200);
  for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{kMiB - 1}, std::size_t{kMiB},
                           std::size_t{3 * kMiB + 1}}) {
    for (std::size_t skew : {0, 1, 15, 63, 64}) {
      std::ranges::fill(to, std::byte{0});
      auto source = std::span(from).subspan(skew, size);
      copy(std::span(to).subspan(skew * 3 % 64 + 1), source);
      EXPECT_EQ(to[skew * 3 % 64], std::byte{0});
      EXPECT_TRUE(std::ranges::equal(source, std::span(to).subspan(skew * 3 % 64 + 1, size)));
      EXPECT_EQ(to[skew * 3 % 64 + 1 + size], std::byte{0});
    }
  }
}

// Several processes make, check, pass on and release blocks; one is killed at some moment.

struct Note {
  Block block;
  std::uint64_t seed = 0;
};

void churn(Arena& arena, int party, unsigned seed, int rounds, int notes) {
  std::mt19937_64 random(seed * 100 + static_cast<unsigned>(party));
  std::deque<Note> mine;
  auto end = [&](std::size_t i) {
    EXPECT_TRUE(is_filled(arena.bytes(mine[i].block), mine[i].seed));
    arena.release(mine[i].block.offset);
    mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(i));
  };
  for (int round = 0; rounds < 0 || round < rounds; ++round) {
    std::uint64_t size = (64 << 10) << random() % 5;
    Note note{arena.allocate(size + random() % size), random()};
    fill(arena.bytes(note.block), note.seed);
    if (random() % 3 == 0) {
      ASSERT_EQ(::write(notes, &note, sizeof note), ssize_t{sizeof note});
    } else {
      mine.push_back(note);
    }
    if (mine.size() > random() % 12) end(random() % mine.size());
    if (random() % 50 == 0) arena.trim(random() % (4 * kMiB));
  }
  while (!mine.empty()) end(0);
}

void churn_in_all(Arena& arena, unsigned seed) {
  std::array<int, 2> notes{};
  ASSERT_EQ(::pipe2(notes.data(), O_CLOEXEC), 0);
  std::array<pid_t, 4> pids{};
  for (int party = 1; party <= 4; ++party) {
    pids[party - 1] = in_child([&] {
      ::close(notes[0]);
      arena.rejoin(party);
      churn(arena, party, seed, party == 1 ? -1 : 100, notes[1]);
    });
  }
  ::close(notes[1]);
  std::mt19937_64 random(seed);
  std::uint64_t until_kill = 20 + random() % 60;
  std::deque<Note> held;
  for (Note note; ::read(notes[0], &note, sizeof note) == ssize_t{sizeof note};) {
    arena.hand_over(note.block, 0);
    held.push_back(note);
    if (until_kill-- == 0) ::kill(pids[0], SIGKILL);
    while (held.size() > random() % 8) {
      EXPECT_TRUE(is_filled(arena.bytes(held.front().block), held.front().seed));
      arena.release(held.front().block.offset);
      held.pop_front();
    }
    Block own = arena.allocate(64 << 10 << random() % 4);
    fill(arena.bytes(own), 1);
    if (random() % 4 != 0) {
      arena.release(own.offset);
    } else {
      held.push_back({own, 1});
    }
  }
  ::close(notes[0]);
  for (int party = 1; party <= 4; ++party) {
    int status = wait_for(pids[party - 1]);
    EXPECT_EQ(status, party == 1 ? SIGKILL : 0);
    arena.reclaim(party);
  }
  for (const Note& note : held) {
    EXPECT_TRUE(is_filled(arena.bytes(note.block), note.seed));
    arena.release(note.block.offset);
  }
}

TEST_F(ArenaTest, ManyProcessesOfWhichOneIsKilled) {
  Arena arena = Arena::create();
  unsigned rounds = tests::kSanitized ? 5 : 20;
  for (unsigned seed = 0; seed < rounds && !HasFailure(); ++seed) churn_in_all(arena, seed);
  EXPECT_EQ(arena.usage().in_use, 0U);
  arena.trim(0);
  EXPECT_EQ(arena.usage().warm, 0U);
  // Words of slots, and what somebody was about to note when it was killed: 1 MiB at most.
  EXPECT_LE(resident(arena), 2 * kMiB + rounds * kMiB);
}

TEST_F(ArenaTest, KilledOnAnyLineNothingIsLost) {
  Arena arena = Arena::create(16 * kMiB);
  std::mt19937_64 random(3);
  for (int round = 0; round < 100 && !HasFailure(); ++round) {
    Block lent = arena.allocate(kMiB);
    pid_t pid = in_child([&] {
      arena.rejoin(1);
      arena.hand_over(lent, 1);
      arena.release(lent.offset);
      while (true) {
        std::array<Block, 4> blocks;
        for (Block& block : blocks) block = arena.allocate(random() % (2 * kMiB));
        for (Block block : blocks) arena.release(block.offset);
        if (random() % 4 == 0) arena.trim(random() % (8 * kMiB));
      }
    });
    auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 8000);
    while (std::chrono::steady_clock::now() < until) {
    }
    ::kill(pid, SIGKILL);
    wait_for(pid);
    arena.reclaim(1);
    EXPECT_LE(arena.usage().in_use, kMiB);
    if (arena.usage().in_use > 0) arena.release(lent.offset);  // it did not get so far
    arena.trim(0);
    EXPECT_EQ(arena.usage().warm, 0U);
    Block all = arena.allocate(15 * kMiB);
    arena.release(all.offset);
    arena.trim(0);
    EXPECT_LE(resident(arena), 64U << 10);
  }
}

}  // namespace
}  // namespace procession::shm
