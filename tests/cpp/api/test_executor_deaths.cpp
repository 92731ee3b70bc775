// SPDX-License-Identifier: Apache-2.0
// A pool whose workers die, or can't begin; that is stopped, or copied by a fork.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <random>
#include <thread>

#include "every_method.hpp"

namespace {

using namespace procession::tests;
using namespace std::chrono_literals;

class Deaths : public EveryPoolMethod {
 protected:
  mp::ExecutorOptions options(int workers, mp::OnWorkerDeath on_death) const {
    return {.max_workers = workers, .mp_context = context(), .on_worker_death = on_death};
  }
};
PROCESSION_UNDER_EVERY_METHOD(Deaths);

int triple(int n) { return 3 * n; }
void sleep_for_ever() {
  while (true) ::pause();
}
void leave(int code) { ::_exit(code); }
void die() { ::raise(SIGKILL); }
void call_exit(int code) { std::exit(code); }

TEST_P(Deaths, BreakThePool) {
  mp::ProcessPoolExecutor pool(options(2, mp::OnWorkerDeath::kBreak));
  auto held = pool.submit(sleep_for_ever);
  auto fatal = pool.submit(leave, 3);
  EXPECT_THROW(pool.submit(triple, 1).get(), mp::BrokenProcessPool);  // perhaps already in submit
  std::string message = message_of<mp::BrokenProcessPool>([&] { fatal.get(); });
  EXPECT_TRUE(message.ends_with("exited with code 3")) << message;
  EXPECT_THROW(held.get(), mp::BrokenProcessPool);
  try {
    pool.submit(triple, 1);
    pool.submit(triple, 1);
    ADD_FAILURE() << "no exception";
  } catch (const mp::BrokenProcessPool& error) {
    try {
      std::rethrow_exception(error.cause());
    } catch (const mp::WorkerDied& died) {
      EXPECT_EQ(died.exitcode(), 3);
      EXPECT_GT(died.pid(), 0);
    }
  }
}

TEST_P(Deaths, FailTheTask) {
  mp::ProcessPoolExecutor pool(options(1, mp::OnWorkerDeath::kFailTask));
  for (int round = 0; round < 3; ++round) {
    auto fatal = pool.submit(die);
    auto waiting = pool.submit(triple, round);
    try {
      fatal.get();
      ADD_FAILURE() << "no exception";
    } catch (const mp::WorkerDied& error) {
      EXPECT_EQ(error.exitcode(), -SIGKILL);
      EXPECT_TRUE(std::string(error.what())
                      .starts_with("worker " + std::to_string(error.pid()) +
                                   " was killed by SIGKILL while it ran "))
          << error.what();
    }
    EXPECT_EQ(waiting.get(), 3 * round);
  }
  EXPECT_THROW(pool.submit(call_exit, 4).get(), mp::WorkerDied);
  EXPECT_EQ(pool.submit(triple, 2).get(), 6);
}

TEST_P(Deaths, NameTheFunction) {
  mp::ProcessPoolExecutor pool(options(1, mp::OnWorkerDeath::kFailTask));
  struct Fatal {
    int code = 0;
    void operator()() const { ::_exit(code); }
  };
  try {
    pool.submit(Fatal{5}).get();
    ADD_FAILURE() << "no exception";
  } catch (const mp::WorkerDied& error) {
    EXPECT_EQ(error.exitcode(), 5);
    EXPECT_TRUE(error.function().ends_with("::Fatal")) << error.function();
  }
  auto of_libc = pool.submit(::_exit, 6);
  EXPECT_EQ(message_of<mp::WorkerDied>([&] { of_libc.get(); }).substr(0, 7), "worker ");
}

// Dies in all but the last try: the connection counts.
mp::Connection<int> tries;
void take_tries(mp::Connection<int> given) { tries = std::move(given); }
int die_at_first() {
  int number = tries.recv();
  if (number > 0) ::raise(SIGKILL);
  return 5;
}

TEST_P(Deaths, AreRetried) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool({.max_workers = 1,
                                .mp_context = context(),
                                .initializer = mp::call(take_tries, theirs.duplicate()),
                                .on_worker_death = mp::OnWorkerDeath::kRetry,
                                .retries = 2});
  ours.send(1);
  ours.send(1);
  ours.send(0);
  EXPECT_EQ(pool.submit(die_at_first).get(), 5);
  for (int i = 0; i < 3; ++i) ours.send(1);
  EXPECT_THROW(pool.submit(die_at_first).get(), mp::WorkerDied);
}

TEST_P(Deaths, OfIdleWorkersAreSeen) {
  mp::ProcessPoolExecutor pool(options(2, mp::OnWorkerDeath::kFailTask));
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 20; ++i) futures.push_back(pool.submit(triple, i));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].get(), 3 * i);
  for (mp::Process& worker : mp::active_children()) {
    worker.kill();
    worker.join();  // which takes its exit code from the pool
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(pool.submit(triple, i).get(), 3 * i);
}

TEST_P(Deaths, OfAllWorkersBreakThePool) {
  mp::ProcessPoolExecutor pool(options(2, mp::OnWorkerDeath::kBreak));
  auto first = pool.submit(sleep_for_ever);
  auto second = pool.submit(sleep_for_ever);
  for (mp::Process& worker : mp::active_children()) worker.kill();
  EXPECT_THROW(first.get(), mp::BrokenProcessPool);
  EXPECT_THROW(second.get(), mp::BrokenProcessPool);
}

void fail_to_begin(const std::string& why) { throw std::out_of_range(why); }

TEST_P(Deaths, OfAnInitializer) {
  mp::ProcessPoolExecutor pool({.max_workers = 2,
                                .mp_context = context(),
                                .initializer = mp::call(fail_to_begin, "no database")});
  try {
    pool.submit(triple, 1).get();
    ADD_FAILURE() << "no exception";
  } catch (const mp::BrokenProcessPool& error) {
    EXPECT_STREQ(error.what(),
                 "the initializer of a worker process failed: std::out_of_range: no database");
    EXPECT_EQ(message_of<std::out_of_range>(error.cause()), "no database");
  }
  EXPECT_THROW(
      {
        while (true) pool.submit(triple, 1).get();
      },
      mp::BrokenProcessPool);
}

TEST_P(Deaths, OfWorkersThatNeverBegin) {
  mp::ProcessPoolExecutor pool({.max_workers = 2,
                                .mp_context = context(),
                                .initializer = mp::call(leave, 9),
                                .on_worker_death = mp::OnWorkerDeath::kRetry});
  EXPECT_THROW(pool.submit(triple, 1).get(), mp::BrokenProcessPool);
}

TEST_P(Deaths, OnDemand) {
  for (bool kill : {false, true}) {
    mp::ProcessPoolExecutor pool(options(1, mp::OnWorkerDeath::kRetry));
    auto held = pool.submit(sleep_for_ever);
    while (!held.running()) std::this_thread::yield();
    auto waiting = pool.submit(triple, 1);
    kill ? pool.kill_workers() : pool.terminate_workers();
    EXPECT_THROW(held.get(), mp::BrokenProcessPool);
    EXPECT_THROW(waiting.get(), mp::CancelledError);
    EXPECT_THROW(pool.submit(triple, 1), std::runtime_error);
  }
}

TEST_P(Deaths, OfATaskThatTakesTooLong) {
  mp::ProcessPoolExecutor pool(options(1, mp::OnWorkerDeath::kBreak));
  auto slow = pool.submit({.timeout = 50ms}, sleep_for_ever);
  auto next = pool.submit(triple, 1);
  std::string message = message_of<mp::TimeoutError>([&] { slow.get(); });
  EXPECT_NE(message.find(" ran for longer than 0.05 s in worker "), std::string::npos) << message;
  EXPECT_EQ(next.get(), 3);
  EXPECT_THROW(pool.submit({.timeout = -1s}, triple, 1), std::invalid_argument);
}

TEST_P(Deaths, OfATaskThatIsCancelledAsItRuns) {
  mp::ProcessPoolExecutor pool(options(1, mp::OnWorkerDeath::kBreak));
  auto slow = pool.submit(sleep_for_ever);
  while (!slow.running()) std::this_thread::yield();
  EXPECT_FALSE(slow.cancel());
  EXPECT_TRUE(slow.cancel(true));
  EXPECT_THROW(slow.get(), mp::CancelledError);
  EXPECT_EQ(pool.submit(triple, 1).get(), 3);
}

int count_call() {
  static int calls = 0;
  return calls++;
}

TEST_P(Deaths, DontDisturbTheOrderOfPriorities) {
  mp::ProcessPoolExecutor pool(options(1, mp::OnWorkerDeath::kFailTask));
  auto held = pool.submit(sleep_for_ever);  // so that the others wait
  auto late = pool.submit({.priority = -1}, count_call);
  auto middle = pool.submit(count_call);
  auto first = pool.submit({.priority = 1}, count_call);
  held.cancel(true);
  EXPECT_EQ(first.get(), 0);
  EXPECT_EQ(middle.get(), 1);
  EXPECT_EQ(late.get(), 2);
}

TEST_P(Deaths, OfIdleWorkersByAgreement) {
  mp::ProcessPoolExecutor pool({.max_workers = 1, .mp_context = context(), .idle_timeout = 5ms});
  int first = pool.submit(::getpid).get();
  while (!mp::active_children().empty()) std::this_thread::yield();
  EXPECT_NE(pool.submit(::getpid).get(), first);
}

int grow_by(std::size_t bytes) {
  static std::vector<std::vector<char>> kept;
  kept.emplace_back(bytes, 'x');
  return ::getpid();
}

// Of this process; a forked worker begins with as much.
std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  file >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST_P(Deaths, OfWorkersThatHaveGrownTooLarge) {
  std::size_t limit = resident_bytes() + (std::size_t{64} << 20);
  mp::ProcessPoolExecutor pool({.max_workers = 1, .mp_context = context(), .max_rss = limit});
  int first = pool.submit(grow_by, 1).get();
  EXPECT_EQ(pool.submit(grow_by, 1).get(), first);
  EXPECT_EQ(pool.submit(grow_by, limit).get(), first);
  // It looks now and then.
  while (pool.submit(grow_by, 1).get() == first) std::this_thread::yield();
}

TEST_P(Deaths, HaveLimitsThatMakeSense) {
  for (int number : {0, -1}) {
    EXPECT_THROW(mp::ProcessPoolExecutor({.mp_context = context(), .max_pending = number}),
                 std::invalid_argument);
  }
  EXPECT_THROW(mp::ProcessPoolExecutor({.mp_context = context(), .max_rss = 0}),
               std::invalid_argument);
}

void ignore_termination() { ::signal(SIGTERM, SIG_IGN); }

TEST_P(Deaths, OfAWorkerThatIgnoresTermination) {
  mp::ProcessPoolExecutor pool(
      {.max_workers = 2, .mp_context = context(), .initializer = ignore_termination});
  auto deaf = pool.submit(sleep_for_ever);
  EXPECT_THROW(pool.submit(die).get(), mp::BrokenProcessPool);
  EXPECT_THROW(deaf.get(), mp::BrokenProcessPool);
  pool.shutdown();
}

TEST_P(Deaths, InsideOfWorkersTravel) {
  mp::ProcessPoolExecutor pool(options(1, mp::OnWorkerDeath::kBreak));
  auto inner = [](const std::string& method) {
    mp::ProcessPoolExecutor within({.max_workers = 1,
                                    .mp_context = mp::get_context(method),
                                    .on_worker_death = mp::OnWorkerDeath::kFailTask});
    within.submit(leave, 8).get();
  };
  try {
    pool.submit(inner, method()).get();
    ADD_FAILURE() << "no exception";
  } catch (const mp::WorkerDied& error) {
    EXPECT_EQ(error.exitcode(), 8);
  }
}

// What a worker answers: three times n, after n % 7 tenths of a millisecond, and who it is.
std::pair<int, int> work_a_while(int n) {
  auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(n % 7 * 100);
  while (std::chrono::steady_clock::now() < end) {
  }
  return {3 * n, ::getpid()};
}

TEST_P(Deaths, AtRandomCostTheirTasksOnly) {
  constexpr int kTasks = 600;
  mp::ProcessPoolExecutor pool(options(3, mp::OnWorkerDeath::kFailTask));
  std::atomic<bool> over{false};
  std::atomic<int> ends{0};
  std::atomic<int> answered{0};  // the last worker that did: one that has begun can be killed
  std::vector<mp::Future<std::pair<int, int>>> futures;
  for (int i = 0; i < kTasks; ++i) {
    futures.push_back(pool.submit(work_a_while, i));
    futures.back().add_done_callback([&](const auto& ended) {
      ++ends;
      if (!ended.exception()) answered = ended.get().second;
    });
  }
  std::thread killer([&] {
    std::minstd_rand random(7);
    while (!over) {
      for (mp::Process& worker : mp::active_children()) {
        if (worker.pid() == answered) worker.kill();
      }
      std::this_thread::sleep_for(std::chrono::microseconds(500 + random() % 5000));
    }
  });
  int died = 0;
  for (int i = 0; i < kTasks; ++i) {
    try {
      EXPECT_EQ(futures[static_cast<std::size_t>(i)].get().first, 3 * i);
    } catch (const mp::WorkerDied& error) {
      EXPECT_EQ(error.exitcode(), -SIGKILL);
      ++died;
    }
  }
  over = true;
  killer.join();
  pool.shutdown();
  EXPECT_EQ(ends, kTasks);
  EXPECT_LT(died, kTasks / 2);
}

TEST_P(Deaths, SpareAForkedCopy) {
  mp::ProcessPoolExecutor pool(options(1, mp::OnWorkerDeath::kBreak));
  auto ended = pool.submit(triple, 1);
  ended.wait();
  auto large = pool.submit([](int n) { return std::vector<double>(100'000, n); }, 2);
  large.wait();
  auto pending = pool.submit(sleep_for_ever);
  pid_t child = ::fork();
  if (child == 0) {
    int code = 0;
    {
      auto copy = std::move(pool);
      try {
        copy.submit(triple, 1);
        code |= 1;
      } catch (const std::runtime_error&) {
      }
      try {
        pending.get();
        code |= 2;
      } catch (const std::runtime_error&) {
      }
      try {
        mp::wait(std::vector{pending});
        code |= 16;
      } catch (const std::runtime_error&) {
      }
      if (ended.get() != 3) code |= 4;
      if (large.get()[99'999] != 2) code |= 8;
      large = {};
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(large.get(), std::vector<double>(100'000, 2));
  pool.kill_workers();
  EXPECT_THROW(pending.get(), mp::BrokenProcessPool);
}

}  // namespace
