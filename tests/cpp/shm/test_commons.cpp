// SPDX-License-Identifier: Apache-2.0
#include "shm/commons.hpp"

#include <sys/syscall.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "forks.hpp"
#include "shm/barrier.hpp"
#include "shm/event.hpp"
#include "shm/shared_bytes.hpp"

namespace procession::shm {
namespace {

using namespace std::chrono_literals;

class Commonses : public CommonsTest {};

std::string refusal_of(const CellName& name, CellKind kind) {
  try {
    commons().find_cell(name, kind);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST_F(Commonses, ACellIsFoundByItsName) {
  auto made = commons().make_cell(CellKind::kBytes, 100);
  EXPECT_EQ(commons().find_cell(made->name(), CellKind::kBytes), made) << "one per process";
  made->as<int>() = 7;
  pid_t child = in_child(
      [&] { EXPECT_EQ(commons().find_cell(made->name(), CellKind::kBytes)->as<int>(), 7); });
  EXPECT_EQ(wait_for(child), 0);
}

TEST_F(Commonses, WhatIsNoNameIsRefused) {
  auto made = commons().make_cell(CellKind::kEvent, 100);
  CellName name = made->name();
  EXPECT_NE(refusal_of(name, CellKind::kQueue), "");
  CellName other = name;
  ++other.session;
  EXPECT_NE(refusal_of(other, CellKind::kEvent).find("another session"), std::string::npos);
  ++(other = name).generation;
  EXPECT_NE(refusal_of(other, CellKind::kEvent), "");
  std::mt19937_64 random(3);
  for (int i = 0; i < 10'000; ++i) {
    other = name;
    other.offset = i % 2 ? random() : name.offset + random() % (1 << 20);
    if (other.offset == name.offset) continue;
    EXPECT_NE(refusal_of(other, CellKind::kEvent), "");
  }
}

TEST_F(Commonses, AMadeCellIsZeroAndANameIsNeverAnOthers) {
  CellName first;
  {
    auto made = commons().make_cell(CellKind::kBytes, 5000);
    first = made->name();
    std::memset(&made->as<char>(), 0xff, 5000);
  }
  EXPECT_NE(refusal_of(first, CellKind::kBytes).find("doesn't exist any more"), std::string::npos);
  auto second = commons().make_cell(CellKind::kBytes, 5000);
  EXPECT_EQ(second->name().offset, first.offset) << "the place is used again";
  for (int i = 0; i < 5000; ++i) ASSERT_EQ((&second->as<char>())[i], 0);
  EXPECT_NE(refusal_of(first, CellKind::kBytes), "");
}

TEST_F(Commonses, ACellIsThereWhileAProcessRefersToIt) {
  InCommon<std::atomic<int>> step;
  CellName name;
  pid_t child = 0;
  {
    auto made = commons().make_cell(CellKind::kBytes, 8);
    name = made->name();
    child = in_child([&] {  // refers to what its parent does
      await(*step, 1);
      EXPECT_EQ(commons().find_cell(name, CellKind::kBytes), made);
      made->as<int>() = 5;
      *step = 2;
      sleep_for_ever();
    });
  }
  commons().sweep();
  *step = 1;
  await(*step, 2);
  EXPECT_EQ(commons().find_cell(name, CellKind::kBytes)->as<int>(), 5);
  kill_and_wait(child);
  commons().sweep();
  EXPECT_NE(refusal_of(name, CellKind::kBytes), "");
}

TEST_F(Commonses, AKeptCellStays) {
  CellName name;
  {
    auto made = commons().make_cell(CellKind::kEvent, 8);
    made->keep();
    name = made->name();
  }
  auto found = commons().find_cell(name, CellKind::kEvent);
  found->header().references[0].fetch_and(~std::uint64_t{1});  // for the sake of the other tests
}

TEST_F(Commonses, ACellIsKeptUntilEachOfItsNamesHasArrived) {
  CellName name;
  {
    auto made = commons().make_cell(CellKind::kEvent, 8);
    made->keep_until_found();
    made->keep_until_found();
    name = made->name();
  }
  for (int i = 0; i < 2; ++i) {
    commons().find_cell(name, CellKind::kEvent);  // is no arrival
    EXPECT_EQ(refusal_of(name, CellKind::kEvent), "");
    commons().find_cell(name, CellKind::kEvent, true);
  }
  EXPECT_NE(refusal_of(name, CellKind::kEvent), "");
}

TEST_F(Commonses, AnArrivalEndsNoOtherStay) {
  CellName name;
  {
    auto made = commons().make_cell(CellKind::kEvent, 8);
    made->keep_until_found();
    made->keep();
    name = made->name();
  }
  for (int i = 0; i < 2; ++i) commons().find_cell(name, CellKind::kEvent, true);
  auto found = commons().find_cell(name, CellKind::kEvent);
  found->header().references[0].fetch_and(~std::uint64_t{1});  // for the sake of the other tests
}

// --- lives

struct Life {
  std::atomic<Ticket> ticket{0};
  std::atomic<int> step{0};
};

TEST_F(Commonses, ADeathIsSeen) {
  InCommon<Life> life;
  pid_t child = in_child([&] {
    life->ticket = commons().ticket();
    sleep_for_ever();
  });
  await(life->ticket, Ticket{1});
  EXPECT_FALSE(commons().is_dead(life->ticket));
  EXPECT_EQ(commons().pid_of(life->ticket), child);
  auto waits = commons().life_of(life->ticket);
  ASSERT_TRUE(waits);
  std::thread killer([&] { ::kill(child, SIGKILL); });
  while (!commons().is_dead(life->ticket)) {
    std::array<os::FutexWait, 1> one{*waits};
    os::futex_wait_any(one, base::Deadline::after(kLookAgain));
    waits = commons().life_of(life->ticket);
  }
  killer.join();
  wait_for(child);
  commons().sweep();
  EXPECT_TRUE(commons().is_dead(life->ticket)) << "whoever may have its place";
  EXPECT_EQ(commons().pid_of(life->ticket), 0);
}

TEST_F(Commonses, AThreadsEndIsNotItsProcesss) {
  if (tests::kThreadSanitized) GTEST_SKIP() << "ThreadSanitizer wants no threads in copies";
  InCommon<Life> life;
  pid_t child = in_child([&] {
    life->ticket = commons().own_ticket();  // which the fork took, for the copy's main thread
    std::thread([&] {
      life->step = 1;
      sleep_for_ever();
    }).detach();
    ::syscall(SYS_exit, 0);  // this thread
  });
  await(life->step, 1);
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(commons().is_dead(life->ticket));
  kill_and_wait(child);
  EXPECT_TRUE(commons().is_dead(life->ticket));
}

// More copies than there are places, of which nobody says that they have ended.
TEST_F(Commonses, PlacesAreUsedAgain) {
  auto cell = commons().make_cell(CellKind::kBytes, 8);
  int forks = tests::kSanitized ? 200 : 1500;
  for (int i = 0; i < forks; ++i) {
    pid_t child = in_child([&] {
      EXPECT_NE(commons().own_ticket(), 0U);
      std::atomic_ref(cell->as<int>()).fetch_add(1);
    });
    ASSERT_EQ(wait_for(child), 0);
  }
  EXPECT_EQ(cell->as<int>(), forks);
}

// Killed as they make, find and drop: whoever is left goes on, and nothing stays.
TEST_F(Commonses, KillsOnAnyLine) {
  auto known = commons().make_cell(CellKind::kBytes, 8);
  auto churn = [&] {
    std::mt19937_64 random(static_cast<std::uint64_t>(::getpid()));
    std::vector<std::shared_ptr<Cell>> cells;
    std::vector<Block> blocks;
    while (true) {
      if (cells.size() < 10)
        cells.push_back(commons().make_cell(CellKind::kBytes, random() % 2000));
      if (random() % 2) cells.erase(cells.begin());
      commons().find_cell(known->name(), CellKind::kBytes);
      if (blocks.size() < 3) blocks.push_back(commons().allocate(random() % 100'000));
      if (random() % 2) {
        commons().release(blocks.back().offset);
        blocks.pop_back();
      }
      if (random() % 8 == 0) commons().sweep();
    }
  };
  std::mt19937_64 random(5);
  std::vector<pid_t> children{in_child(churn), in_child(churn)};
  for (int i = 0; i < (tests::kSanitized ? 10 : 60); ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 5000));
    pid_t& victim = children[static_cast<std::size_t>(i % 2)];
    kill_and_wait(victim);
    commons().make_cell(CellKind::kEvent, 8);
    victim = in_child(churn);
  }
  for (pid_t child : children) kill_and_wait(child);
}

// --- what else lies in cells

TEST_F(Commonses, EventsAndBytes) {
  Event event;
  SharedBytes small(100);
  SharedBytes large(1 << 20);
  pid_t child = in_child([&] {
    Event theirs(event.cell()->name());
    EXPECT_EQ(theirs.wait(base::Deadline::never()), base::Waited::kReady);
    SharedBytes(small.cell()->name()).bytes()[99] = std::byte{1};
    SharedBytes(large.cell()->name()).bytes()[(1 << 20) - 1] = std::byte{2};
  });
  event.set();
  EXPECT_EQ(wait_for(child), 0);
  EXPECT_EQ(small.bytes()[99], std::byte{1});
  EXPECT_EQ(large.bytes()[(1 << 20) - 1], std::byte{2});
}

TEST_F(Commonses, BarriersWhoseWaitersAreKilled) {
  Barrier barrier(4);
  auto churn = [&] {
    while (true) {
      Barrier::Arrival arrival = barrier.wait(base::Deadline::after(20ms));
      if (arrival.passed == Barrier::Passed::kBroken) barrier.reset();
    }
  };
  std::mt19937_64 random(5);
  std::vector<pid_t> children{in_child(churn), in_child(churn), in_child(churn)};
  int passed = 0;
  for (int i = 0; i < (tests::kSanitized ? 10 : 40); ++i) {
    for (int tries = 0; tries < 10; ++tries) {
      Barrier::Arrival arrival = barrier.wait(base::Deadline::after(20ms));
      passed += arrival.passed == Barrier::Passed::kYes;
      if (arrival.passed == Barrier::Passed::kBroken) barrier.reset();
    }
    pid_t& victim = children[static_cast<std::size_t>(i % 3)];
    kill_and_wait(victim);
    victim = in_child(churn);
  }
  for (pid_t child : children) kill_and_wait(child);
  EXPECT_GT(passed, 0);
  barrier.reset();
  EXPECT_EQ(barrier.waiting(), 0U);
}

}  // namespace
}  // namespace procession::shm
