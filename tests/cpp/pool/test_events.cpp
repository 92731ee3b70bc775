// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <fstream>
#include <map>
#include <sstream>

#include "crew.hpp"
#include "pool/trace.hpp"
#include "pool/worker.hpp"

namespace procession::pool {
namespace {

using Events = PoolTest;

Options event_options(std::uint32_t count, OnDeath on_death = OnDeath::kFailTask) {
  Options options;
  options.max_workers = count;
  options.on_death = on_death;
  return options;
}

// All that a stream has, of a pool that has ended.
std::vector<Event> rest(EventStream& stream) {
  std::vector<Event> events;
  std::optional<Event> event;
  while (stream.next(event, base::Deadline::never()) == base::Waited::kReady && event) {
    events.push_back(*event);
  }
  return events;
}

std::vector<EventKind> kinds_of(const std::vector<Event>& events, std::uint64_t task) {
  std::vector<EventKind> kinds;
  for (const Event& event : events) {
    if (event.task == task) kinds.push_back(event.kind);
  }
  return kinds;
}

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

TEST_F(Events, EachTaskIsQueuedStartedAndEndsOnceInThisOrder) {
  Crew crew(event_options(3));
  auto stream = crew.pool().listen(100'000);
  for (int i = 0; i < 3000; ++i) crew.submit(i % 7 ? Act::kEcho : Act::kRaise);
  crew.finish();
  crew.pool().end_events();
  std::vector<Event> events = rest(*stream);
  std::map<std::uint64_t, std::vector<Event>> tasks;
  for (const Event& event : events) {
    if (event.task != kNoNumber) tasks[event.task].push_back(event);
  }
  ASSERT_EQ(tasks.size(), 3000u);
  for (const auto& [task, found] : tasks) {
    ASSERT_EQ(found.size() % 2, 1u) << task;  // queued and started, perhaps again
    for (std::size_t i = 0; i + 1 < found.size(); ++i) {
      EXPECT_EQ(found[i].kind, i % 2 ? EventKind::kStarted : EventKind::kQueued) << task;
      EXPECT_LE(found[i].time, found[i + 1].time) << task;
    }
    EXPECT_EQ(found.back().kind, task % 7 ? EventKind::kDone : EventKind::kFailed) << task;
    EXPECT_GT(found.back().amount, 0) << task;
    EXPECT_NE(found.back().worker, 0) << task;
  }
}

TEST_F(Events, ACancelledTaskIsToldOf) {
  Gate gate;
  Crew crew(event_options(1));
  auto stream = crew.pool().listen(100);
  crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  std::uint64_t second = crew.submit(Act::kEcho);
  ASSERT_TRUE(crew.cancel(second));
  gate.open();
  crew.finish();
  crew.pool().end_events();
  std::vector<EventKind> wanted{EventKind::kQueued, EventKind::kCancelled};
  EXPECT_EQ(kinds_of(rest(*stream), second), wanted);
}

TEST_F(Events, ADeathIsToldOfAheadOfItsTask) {
  Crew crew(event_options(1));
  auto stream = crew.pool().listen(100);
  std::uint64_t task = crew.submit(Act::kExit, 7);
  crew.ending(task);
  crew.finish();
  crew.pool().end_events();
  std::vector<Event> events = rest(*stream);
  std::vector<EventKind> wanted{EventKind::kQueued, EventKind::kStarted, EventKind::kDied};
  EXPECT_EQ(kinds_of(events, task), wanted);
  auto died = std::find_if(events.begin(), events.end(),
                           [](const Event& event) { return event.kind == EventKind::kDied; });
  ASSERT_NE(died, events.begin());
  EXPECT_EQ(died[-1].kind, EventKind::kWorkerEnded);
  EXPECT_EQ(died->amount, 7);
  EXPECT_EQ(died[-1].amount, 7);
  EXPECT_EQ(died->worker, died[-1].worker);
}

TEST_F(Events, ATaskThatIsTriedAgainIsQueuedAgain) {
  Options options = event_options(1, OnDeath::kRetry);
  options.retries = 1;
  Crew crew(options);
  auto stream = crew.pool().listen(100);
  std::uint64_t task = crew.submit(Act::kKillOnce);
  EXPECT_EQ(crew.ending(task).kind, OutcomeKind::kResult);
  crew.finish();
  crew.pool().end_events();
  std::vector<EventKind> wanted{EventKind::kQueued, EventKind::kStarted, EventKind::kQueued,
                                EventKind::kStarted, EventKind::kDone};
  EXPECT_EQ(kinds_of(rest(*stream), task), wanted);
}

TEST_F(Events, InAPoolThatBreaksOneTaskDied) {
  Gate gate;
  Crew crew(event_options(1, OnDeath::kBreak));
  auto stream = crew.pool().listen(1000);
  std::uint64_t first = crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  for (int i = 0; i < 9; ++i) crew.submit(Act::kEcho);
  crew.kill_all();
  crew.finish();
  crew.pool().end_events();
  Stats stats = crew.pool().stats();
  EXPECT_EQ(stats.counters.died, 1u);
  EXPECT_EQ(stats.counters.broken, 9u);
  EXPECT_EQ(stats.counters.workers_died, 1u);
  std::vector<Event> events = rest(*stream);
  EXPECT_EQ(kinds_of(events, first).back(), EventKind::kDied);
  EXPECT_EQ(kinds_of(events, first + 1).back(), EventKind::kBroken);
}

TEST_F(Events, AStreamIsBoundedAndSaysWhatItLost) {
  Crew crew(event_options(1));
  auto stream = crew.pool().listen(10);
  for (int i = 0; i < 100; ++i) crew.submit(Act::kEcho);
  crew.finish();
  crew.pool().end_events();
  std::vector<Event> events = rest(*stream);
  ASSERT_EQ(events.size(), 11u);
  EXPECT_EQ(events.front().kind, EventKind::kLost);
  EXPECT_GE(events.front().amount, 290);
  EXPECT_EQ(events.back().kind, EventKind::kWorkerEnded);
}

TEST_F(Events, WhoListensLateIsToldOfTheRest) {
  Gate gate;
  Crew crew(event_options(1));
  std::uint64_t task = crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  auto stream = crew.pool().listen(100);
  gate.open();
  crew.ending(task);
  crew.finish();
  crew.pool().end_events();
  EXPECT_EQ(kinds_of(rest(*stream), task).back(), EventKind::kDone);
  EXPECT_TRUE(rest(*crew.pool().listen(100)).empty());
}

TEST_F(Events, AStreamWakesWhoWaits) {
  EventStream stream(10);
  std::atomic<int> got{0};
  std::thread reader([&] {
    std::optional<Event> event;
    while (stream.next(event, base::Deadline::never()) == base::Waited::kReady && event) ++got;
  });
  for (int i = 0; i < 5; ++i) {
    stream.add({});
    while (got.load() <= i) std::this_thread::yield();
  }
  stream.end();
  reader.join();
  EXPECT_EQ(got.load(), 5);
}

TEST_F(Events, StatsSayWhatIsGoingOn) {
  Gate gate;
  Crew crew(event_options(2));
  for (int i = 0; i < 2; ++i) crew.submit(Act::kWait, gate.read_end());
  crew.began(2);
  crew.submit(Act::kEcho);
  Stats stats = crew.pool().stats();
  EXPECT_EQ(stats.running, 2u);
  EXPECT_EQ(stats.queued, 1u);
  ASSERT_EQ(stats.workers.size(), 2u);
  for (const WorkerStats& worker : stats.workers) {
    EXPECT_NE(worker.pid, 0);
    EXPECT_TRUE(worker.has_begun);
  }
  gate.open(2);
  crew.all_ended();
  stats = crew.pool().stats();
  EXPECT_EQ(stats.running + stats.queued, 0u);
  EXPECT_EQ(stats.counters.done, 3u);
  EXPECT_EQ(stats.counters.workers_started, 2u);
  EXPECT_EQ(stats.workers[0].done + stats.workers[1].done, 3u);
  EXPECT_EQ(stats.workers[0].state, WorkerState::kIdle);
  crew.finish();
}

TEST_F(Events, StatsKnowTheArena) {
  Gate gate;
  Crew crew(event_options(1));
  crew.submit(Act::kWait, gate.read_end());
  crew.began(1);
  std::uint64_t before = crew.pool().stats().arena_in_use;
  crew.submit(Act::kEcho, 0, 1 << 20);
  Stats stats = crew.pool().stats();
  EXPECT_GE(stats.arena_in_use, before + (1 << 20));
  EXPECT_GE(stats.arena_mapped, stats.arena_in_use);
  gate.open();
}

// --- the trace

struct Folder {
  Folder() { EXPECT_NE(::mkdtemp(path), nullptr); }
  ~Folder() {
    std::remove((std::string(path) + "/trace.json").c_str());
    ::rmdir(path);
  }
  std::string file() const { return std::string(path) + "/trace.json"; }
  char path[32] = "/tmp/procession-trace-XXXXXX";
};

TEST_F(Events, TheTraceHasEachTaskOnce) {
  Folder folder;
  {
    Crew crew(event_options(2));
    crew.pool().trace_to(folder.file());
    for (int i = 0; i < 5000; ++i) crew.submit(Act::kEcho);
    crew.submit(Act::kExit, 3);
    crew.finish();
    crew.pool().end_events();
    EXPECT_EQ(crew.pool().write_trace(), "");
  }
  std::string text = read(folder.file());
  EXPECT_EQ(count(text, "\"ph\":\"X\",\"cat\":\"task\""), 5001u);
  EXPECT_EQ(count(text, "\"outcome\":\"died\""), 1u);
  EXPECT_EQ(count(text, "exited with code 3"), 1u);
  EXPECT_EQ(text.substr(text.size() - 4), "}\n]\n");
}

TEST_F(Events, TheTraceIsWrittenAsItComes) {
  Folder folder;
  TraceFile trace(folder.file(), [](FunctionId) { return std::string_view("a\"\\\n"); });
  Event event;
  event.kind = EventKind::kDone;
  event.worker = 5;
  event.queued = event.started = 1000;
  event.time = 1'234'567;
  event.amount = 1567;
  while (!trace.is_full()) trace.add(event);
  EXPECT_EQ(read(folder.file()), "");
  trace.write_out();
  EXPECT_FALSE(trace.is_full());
  std::string text = read(folder.file());
  EXPECT_GT(text.size(), 100'000u);
  EXPECT_NE(text.find(R"("ts":1233,"dur":1.567,"name":"a\"\\\u000a")"), std::string::npos);
}

TEST_F(Events, AFullDiskEndsTheTraceAndNothingElse) {
  Crew crew(event_options(1));
  crew.pool().trace_to("/dev/full");
  crew.submit(Act::kEcho);
  crew.all_ended();
  crew.finish();
  crew.pool().end_events();
  std::string failure = crew.pool().write_trace();
  EXPECT_NE(failure.find("/dev/full"), std::string::npos) << failure;
  EXPECT_NE(failure.find("No space left"), std::string::npos) << failure;
  EXPECT_EQ(crew.pool().write_trace(), "");  // said once
}

TEST_F(Events, ATraceThatCannotBeIsRefused) {
  Crew crew(event_options(1));
  EXPECT_THROW(crew.pool().trace_to("/proc/no/such/file"), std::system_error);
}

// --- messages

// A worker's side, in this process.
struct Side {
  explicit Side(Pool& pool)
      : fds(pool.worker_fds()),
        worker(os::duplicate(fds[0]), 0, os::duplicate(fds[1]), os::duplicate(fds[2]),
               os::duplicate(fds[3])) {}
  std::vector<int> fds;
  Worker worker;
};

base::Bytes bytes(std::size_t size) { return base::Bytes(size, std::byte{'m'}); }

std::size_t hear(Pool& pool, const Outcomes& outcomes) {
  for (const Message& message : outcomes.messages) pool.heard(message);
  return outcomes.messages.size();
}

TEST_F(Events, MessagesOfAllSizesArriveInOrder) {
  Pool pool(event_options(1));
  auto place = pool.worker_wanted(true);
  ASSERT_TRUE(place);
  pool.add_worker(*place, ::getpid(), os::open_pidfd(::getpid()));
  Side side(pool);
  std::vector<std::size_t> sizes{0, 5, kLargestInline, kLargestInline + 1, 300'000, 7};
  std::uint32_t form = 0;
  for (std::size_t size : sizes) {
    ResultHeader header;
    header.form = form++;
    side.worker.tell(header, bytes(size));
  }
  Outcomes outcomes;
  pool.collect(outcomes);
  ASSERT_EQ(outcomes.messages.size(), sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(outcomes.messages[i].form, i);
    EXPECT_EQ(outcomes.messages[i].size, sizes[i]);
    EXPECT_EQ(outcomes.messages[i].pid, ::getpid());
    EXPECT_EQ(outcomes.messages[i].task, kNoNumber);
  }
  EXPECT_EQ(pool.stats().arena_in_use, 0u);
}

TEST_F(Events, AMessageWakesTheThreadAtTheBack) {
  Pool pool(event_options(1));
  auto place = pool.worker_wanted(true);
  pool.add_worker(*place, ::getpid(), os::open_pidfd(::getpid()));
  Side side(pool);
  constexpr std::size_t kCount = 2000;
  std::size_t got = 0;
  std::thread back([&] {
    Outcomes outcomes;
    while (got < kCount) {
      pool.wait_back(base::Deadline::never());
      pool.collect(outcomes);
      got += hear(pool, outcomes);
    }
  });
  for (std::size_t i = 0; i < kCount; ++i) side.worker.tell({}, bytes(i % 5000));
  back.join();
  EXPECT_EQ(got, kCount);
}

// As above, but somebody comes to the front and leaves it all the time.
TEST_F(Events, AMessageIsSeenWhoeverLooks) {
  Pool pool(event_options(1));
  auto place = pool.worker_wanted(true);
  pool.add_worker(*place, ::getpid(), os::open_pidfd(::getpid()));
  Side side(pool);
  constexpr std::size_t kCount = 3000;
  std::atomic<std::size_t> got{0};
  std::thread back([&] {
    Outcomes outcomes;
    while (got < kCount) {
      pool.wait_back(base::Deadline::never());
      pool.collect(outcomes);
      got += hear(pool, outcomes);
    }
    pool.ring_front();
  });
  std::thread front([&] {
    Outcomes outcomes;
    for (int i = 0; i < 300 && got < kCount; ++i) {
      pool.enter_front();
      pool.wait_front(12345, base::Deadline::after(std::chrono::milliseconds(i % 3)),
                      [] { return false; });
      pool.collect(outcomes);
      got += hear(pool, outcomes);
      pool.leave_front();
    }
    pool.ring_back();
  });
  for (std::size_t i = 0; i < kCount; ++i) side.worker.tell({}, bytes(i % 2000));
  front.join();
  back.join();
  EXPECT_EQ(got, kCount);
}

TEST_F(Events, WhoIsFarAheadWithMessagesWaits) {
  Pool pool(event_options(1));
  auto place = pool.worker_wanted(true);
  pool.add_worker(*place, ::getpid(), os::open_pidfd(::getpid()));
  Side side(pool);
  constexpr std::size_t kSize = 60'000;
  constexpr std::size_t kMost = kMostUnheard / weight_of_message(kSize);
  constexpr std::size_t kCount = 3 * kMost;
  std::thread worker([&] {
    for (std::size_t i = 0; i < kCount; ++i) side.worker.tell({}, bytes(kSize));
  });
  Outcomes outcomes;
  std::size_t got = 0;
  std::size_t heard = 0;
  std::deque<Message> unheard;
  auto last_heard = std::chrono::steady_clock::now();
  while (got < kCount) {
    pool.wait_back(base::Deadline::never());
    pool.collect(outcomes);
    got += outcomes.messages.size();
    unheard.insert(unheard.end(), outcomes.messages.begin(), outcomes.messages.end());
    auto waited = std::chrono::steady_clock::now() - last_heard;
    if (waited < std::chrono::milliseconds(500)) {
      EXPECT_LE(got, heard + kMost);
    }
    if (got < heard + kMost) continue;  // it may still tell more
    pool.heard(unheard.front());
    unheard.pop_front();
    ++heard;
    last_heard = std::chrono::steady_clock::now();
    pool.ring_back();
  }
  worker.join();
}

// What hears messages may itself wait for what the worker does.
TEST_F(Events, WhoIsNeverHeardGoesOn) {
  Pool pool(event_options(1));
  auto place = pool.worker_wanted(true);
  pool.add_worker(*place, ::getpid(), os::open_pidfd(::getpid()));
  Side side(pool);
  Outcomes outcomes;
  std::size_t got = 0;
  for (int i = 0; i < 4; ++i) {
    side.worker.tell({}, bytes(kMostUnheard / 2));
    pool.collect(outcomes);
    got += outcomes.messages.size();
  }
  EXPECT_EQ(got, 4u);
}

}  // namespace
}  // namespace procession::pool
