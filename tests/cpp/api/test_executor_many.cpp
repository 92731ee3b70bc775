// SPDX-License-Identifier: Apache-2.0
// Many tasks at once: map, wait, as_completed; and being told of a task's end: callbacks, coroutines.
#include <atomic>
#include <coroutine>
#include <future>
#include <list>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <sstream>
#include <thread>

#include "every_method.hpp"

namespace {

using namespace procession::tests;
using namespace std::chrono_literals;

mp::Connection<int> gate;
void take_gate(mp::Connection<int> given) { gate = std::move(given); }
int pass_gate(int) { return gate.recv(); }

class Many : public EveryPoolMethod {
 protected:
  // One worker, whose pass_gate waits for what comes through a pipe.
  mp::ProcessPoolExecutor gated(const mp::Connection<int>& theirs,
                                std::optional<int> max_pending = {}) const {
    return mp::ProcessPoolExecutor({.max_workers = 1,
                                    .mp_context = context(),
                                    .initializer = mp::call(take_gate, theirs.duplicate()),
                                    .max_pending = max_pending});
  }
  mp::ProcessPoolExecutor pool(int workers = 2) const {
    return mp::ProcessPoolExecutor({.max_workers = workers, .mp_context = context()});
  }
};
PROCESSION_UNDER_EVERY_METHOD(Many);

int square(int n) { return n * n; }
int add(int a, int b) { return a + b; }
void check_even(int n) {
  if (n % 2 != 0) throw std::invalid_argument(std::to_string(n));
}
struct Times {
  int factor = 1;
  int operator()(int n) const { return factor * n; }
};
std::unique_ptr<int> boxed(int n) { return std::make_unique<int>(n); }

template <class Range>
auto all_of(Range&& range) {
  std::vector<typename std::remove_cvref_t<Range>::value_type> all;
  for (auto& one : range) all.push_back(std::move(one));
  return all;
}

TEST_P(Many, AreMappedInOrder) {
  auto pool = this->pool();
  std::vector<int> squares;
  for (int i = 0; i < 500; ++i) squares.push_back(i * i);
  for (std::size_t chunksize : {1, 7, 1000}) {
    EXPECT_EQ(all_of(pool.map({.chunksize = chunksize}, square, std::views::iota(0, 500))),
              squares);
    EXPECT_EQ(all_of(pool.map({.chunksize = chunksize, .buffersize = 2}, square,
                              std::views::iota(0, 500))),
              squares);
  }
  EXPECT_TRUE(all_of(pool.map(square, std::vector<int>())).empty());
  EXPECT_EQ(all_of(pool.map(add, std::vector{1, 2, 3}, std::list{10, 20})), (std::vector{11, 22}));
  EXPECT_EQ(all_of(pool.map(Times{3}, std::vector{1, 2, 3})), (std::vector{3, 6, 9}));
  EXPECT_EQ(all_of(pool.map({.chunksize = 2}, Times{3}, std::vector{1, 2, 3})),
            (std::vector{3, 6, 9}));
  EXPECT_EQ(all_of(pool.map(check_even, std::vector{2, 4})).size(), 2U);
  std::istringstream text("1 2 3");  // a range that can be read once
  EXPECT_EQ(all_of(pool.map(square, std::views::istream<int>(text))), (std::vector{1, 4, 9}));
  int sum = 0;
  for (auto& box : pool.map({.chunksize = 3}, boxed, std::views::iota(0, 10))) sum += *box;
  EXPECT_EQ(sum, 45);
  EXPECT_THROW(pool.map({.chunksize = 0}, square, std::vector{1}), std::invalid_argument);
}

TEST_P(Many, AreReadAsTheyAreNeeded) {
  auto pool = this->pool();
  int read = 0;
  auto counted = std::views::iota(0) | std::views::transform([&read](int n) {
                   ++read;
                   return n;
                 });
  {
    auto results = pool.map({.buffersize = 5}, square, counted);
    EXPECT_EQ(read, 5);
    auto at = results.begin();
    for (int i = 0; i < 20; ++i, ++at) {
      EXPECT_EQ(*at, i * i);
      EXPECT_EQ(read, 6 + i);
    }
  }
  EXPECT_EQ(pool.submit(square, 3).get(), 9);
}

TEST_P(Many, ThrowWhereTheResultWouldBe) {
  auto pool = this->pool();
  auto results = pool.map(check_even, std::vector{2, 4, 5, 6});
  auto at = results.begin();
  ++at;
  EXPECT_EQ(message_of<std::invalid_argument>([&] { ++at; }), "5");
}

TEST_P(Many, HaveATimeout) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool = gated(theirs);
  {
    auto results = pool.map({.timeout = 20ms}, pass_gate, std::vector{1, 2});
    EXPECT_THROW(results.begin(), mp::TimeoutError);
  }
  std::vector futures{pool.submit(pass_gate, 0)};
  auto completed = mp::as_completed(futures, 20ms);
  EXPECT_THROW(completed.begin(), mp::TimeoutError);
  auto [done, not_done] = mp::wait(futures, mp::ReturnWhen::kAllCompleted, 10ms);
  EXPECT_TRUE(done.empty());
  EXPECT_EQ(not_done, futures);
  ours.send(1);  // of the map: its first had been begun
  ours.send(2);
  EXPECT_EQ(futures[0].get(), 2);
}

TEST_P(Many, WaitForRoom) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool = gated(theirs, 2);
  auto first = pool.submit(pass_gate, 0);
  auto second = pool.submit(pass_gate, 0);
  auto third = std::async(std::launch::async, [&] { return pool.submit(pass_gate, 0); });
  EXPECT_EQ(third.wait_for(100ms), std::future_status::timeout);
  ours.send(1);
  mp::Future<int> went_through = third.get();
  EXPECT_EQ(first.get(), 1);
  // A callback would wait for itself.
  std::promise<mp::Future<int>> submitted;
  second.add_done_callback(
      [&](const mp::Future<int>&) { submitted.set_value(pool.submit(square, 3)); });
  auto filler = std::async(std::launch::async, [&] { return pool.submit(square, 2); });
  ours.send(2);
  EXPECT_EQ(second.get(), 2);
  mp::Future<int> of_callback = submitted.get_future().get();
  ours.send(3);
  EXPECT_EQ(went_through.get(), 3);
  EXPECT_EQ(filler.get().get(), 4);
  EXPECT_EQ(of_callback.get(), 9);
}

TEST_P(Many, WaitForRoomUntilTheirPoolEnds) {
  for (bool breaks : {false, true}) {
    auto [ours, theirs] = mp::Pipe<int>();
    mp::ProcessPoolExecutor pool = gated(theirs, 1);
    auto held = pool.submit(pass_gate, 0);
    std::vector<std::future<mp::Future<int>>> waiting;
    for (int i = 0; i < 3; ++i) {
      waiting.push_back(std::async(std::launch::async, [&] { return pool.submit(square, 1); }));
    }
    EXPECT_EQ(waiting[0].wait_for(50ms), std::future_status::timeout);
    if (breaks) {
      pool.kill_workers();
      EXPECT_THROW(held.get(), mp::BrokenProcessPool);
    } else {
      pool.shutdown(false);
    }
    for (auto& submit : waiting) EXPECT_THROW(submit.get(), std::runtime_error);
    if (!breaks) {
      ours.send(7);
      EXPECT_EQ(held.get(), 7);
    }
  }
}

TEST_P(Many, GoThroughABoundedPoolFromManyThreads) {
  mp::ProcessPoolExecutor pool({.max_workers = 2, .mp_context = context(), .max_pending = 2});
  std::vector<std::future<int>> sums;
  for (int start = 0; start < 400; start += 100) {
    sums.push_back(std::async(std::launch::async, [&pool, start] {
      std::vector<mp::Future<int>> futures;
      for (int n = start; n < start + 100; ++n) futures.push_back(pool.submit(add, n, 1));
      int sum = 0;
      for (auto& future : futures) sum += future.get();
      return sum;
    }));
  }
  int sum = 0;
  for (auto& part : sums) sum += part.get();
  EXPECT_EQ(sum, 400 * 401 / 2);
  int mapped = 0;
  for (int n : pool.map(square, std::views::iota(0, 100))) mapped += n;
  EXPECT_EQ(mapped, 328'350);
}

TEST_P(Many, MayFindTheirPoolShutDown) {
  for (int round = 0; round < 12; ++round) {
    mp::ProcessPoolExecutor pool(this->pool());
    std::atomic<bool> begun{false};
    auto first = std::async(std::launch::async, [&]() -> std::optional<int> {
      begun = true;
      try {
        return pool.submit(square, 3).get();
      } catch (const std::runtime_error&) {  // it came too late
        return std::nullopt;
      }
    });
    while (!begun) std::this_thread::yield();
    for (int i = 0; i < round; ++i) std::this_thread::yield();
    pool.shutdown();
    EXPECT_EQ(first.get().value_or(9), 9);
  }
}

TEST_P(Many, AreMappedNoFurtherAheadThanMayBePending) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool = gated(theirs, 2);
  int read = 0;
  auto numbers = std::views::iota(0, 50) | std::views::transform([&](int n) {
                   ++read;
                   return n;
                 });
  {
    auto results = pool.map({.timeout = 20ms}, pass_gate, numbers);
    EXPECT_THROW(results.begin(), mp::TimeoutError);
    EXPECT_LE(read, 4);
  }
  for (int i = 0; i < 3; ++i) ours.send(i);  // what had been begun, and may have been given
  EXPECT_EQ(pool.submit(square, 3).get(), 9);
}

TEST_P(Many, AreTakenAsTheyEnd) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor held = gated(theirs);
  auto pool = this->pool();
  for (bool both : {false, true}) {
    std::vector<mp::Future<int>> futures;
    if (both) futures.push_back(held.submit(pass_gate, 0));
    for (int i = 0; i < 100; ++i) futures.push_back(pool.submit(square, i));
    std::multiset<int> results;
    for (const auto& future : mp::as_completed(futures)) {
      EXPECT_TRUE(future.done());
      results.insert(future.get());
      if (both && results.size() == 100) {
        EXPECT_FALSE(futures[0].done());
        ours.send(-1);
      }
    }
    EXPECT_EQ(results.size(), futures.size());
    EXPECT_EQ(*results.begin(), both ? -1 : 0);
  }
}

TEST_P(Many, AreWaitedFor) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor held = gated(theirs);
  auto pool = this->pool();
  std::vector futures{held.submit(pass_gate, 0), pool.submit(square, 2)};
  auto first = mp::wait(futures, mp::ReturnWhen::kFirstCompleted);
  EXPECT_EQ(first.done, std::vector{futures[1]});
  EXPECT_EQ(first.not_done, std::vector{futures[0]});
  std::vector<mp::Future<int>> more{futures[0],
                                    pool.submit([]() -> int { throw std::domain_error("no"); })};
  auto failed = mp::wait(more, mp::ReturnWhen::kFirstException);
  EXPECT_EQ(failed.done, std::vector{more[1]});
  ours.send(1);
  auto all = mp::wait(futures);
  EXPECT_EQ(all.done.size(), 2U);
  EXPECT_TRUE(all.not_done.empty());
  EXPECT_TRUE(mp::wait(std::vector<mp::Future<int>>()).done.empty());
  EXPECT_THROW(mp::wait(std::vector<mp::Future<int>>(1)), std::logic_error);  // of no task
}

TEST_P(Many, CallBack) {
  std::map<int, int> seen;
  std::mutex mutex;
  std::set<std::thread::id> threads;
  {
    auto pool = this->pool();
    for (int i = 0; i < 100; ++i) {
      pool.submit(square, i).add_done_callback([&, i](mp::Future<int> future) {
        std::lock_guard lock(mutex);
        seen[i] = future.get();
        threads.insert(std::this_thread::get_id());
      });
    }
  }
  ASSERT_EQ(seen.size(), 100U);
  for (auto [n, result] : seen) EXPECT_EQ(result, n * n);
  auto pool = this->pool();
  auto future = pool.submit(square, 3);
  future.wait();
  int result = 0;
  future.add_done_callback([&](const mp::Future<int>& ended) { result = ended.get(); });
  EXPECT_EQ(result, 9);  // at once
}

TEST_P(Many, CallBackInOrderAndSurviveAThrow) {
  auto [ours, theirs] = mp::Pipe<int>();
  std::string calls;
  std::string errors = errors_of([&, &gate_of = ours, &to = theirs] {
    mp::ProcessPoolExecutor pool = gated(to);
    auto future = pool.submit(pass_gate, 0);
    future.add_done_callback([&](const auto&) { calls += 'a'; });
    future.add_done_callback([](const auto&) { throw std::runtime_error("oh"); });
    future.add_done_callback([&](const auto&) { calls += 'b'; });
    auto cancelled = pool.submit(pass_gate, 0);
    cancelled.add_done_callback([&](const auto& ended) { calls += ended.cancelled() ? 'c' : '-'; });
    EXPECT_TRUE(cancelled.cancel());
    gate_of.send(1);
    future.get();
  });
  std::sort(calls.begin(), calls.end());
  EXPECT_EQ(calls, "abc");
  EXPECT_EQ(errors, "procession: a future's callback threw std::runtime_error: oh\n");
}

TEST_P(Many, SubmitAndShutDownInCallbacks) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool = gated(theirs);
  std::atomic<int> result{0};
  std::atomic<bool> refused{false};
  pool.submit(pass_gate, 0).add_done_callback([&](const mp::Future<int>& first) {
    auto second = pool.submit(square, first.get());
    result = second.get();  // not to be recommended, but it ends
    try {
      pool.shutdown(true);
    } catch (const std::logic_error&) {
      refused = true;
    }
  });
  ours.send(4);
  while (!refused) std::this_thread::yield();
  EXPECT_EQ(result, 16);
  EXPECT_THROW(pool.submit(square, 1), std::runtime_error);
}

TEST_P(Many, MayEndTheirPoolInACallback) {
  auto* pool =
      new mp::ProcessPoolExecutor(mp::ExecutorOptions{.max_workers = 1, .mp_context = context()});
  std::atomic<bool> gone{false};
  auto future = pool->submit(square, 2);
  future.add_done_callback([&](const mp::Future<int>&) {
    delete pool;
    gone = true;
  });
  while (!gone) std::this_thread::yield();
  EXPECT_EQ(future.get(), 4);
  while (!mp::active_children().empty()) std::this_thread::yield();  // nobody waited for them
}

TEST_P(Many, MayWaitInACallbackWhileWorkersDie) {
  mp::ProcessPoolExecutor pool(
      {.max_workers = 1, .mp_context = context(), .on_worker_death = mp::OnWorkerDeath::kFailTask});
  std::atomic<int> result{0};
  pool.submit(square, 2).add_done_callback([&](const mp::Future<int>&) {
    auto fatal = pool.submit([] { ::abort(); });
    auto next = pool.submit(square, 5);
    EXPECT_THROW(fatal.get(), mp::WorkerDied);
    result = next.get();
  });
  while (result == 0) std::this_thread::yield();
  EXPECT_EQ(result, 25);
}

// A coroutine that nobody waits for.
struct Started {
  struct promise_type {
    Started get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Started sum_of_squares(mp::ProcessPoolExecutor& pool, int count, std::atomic<int>& result) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await pool.submit(square, i);
  try {
    co_await pool.submit(check_even, 1);
  } catch (const std::invalid_argument& error) {
    result = sum;
  }
}

TEST_P(Many, AreAwaitedByCoroutines) {
  auto pool = this->pool();
  std::atomic<int> first{0};
  std::atomic<int> second{0};
  sum_of_squares(pool, 30, first);
  sum_of_squares(pool, 10, second);
  while (first == 0 || second == 0) std::this_thread::yield();
  EXPECT_EQ(first, 8555);
  EXPECT_EQ(second, 285);
}

}  // namespace
