// SPDX-License-Identifier: Apache-2.0
// A pool's tasks and what becomes of them, while nothing dies.
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <numeric>
#include <thread>

#include "every_method.hpp"

namespace {

using namespace procession::tests;
using namespace std::chrono_literals;

class Executor : public EveryPoolMethod {
 protected:
  mp::ProcessPoolExecutor pool(int workers = 2) const {
    return mp::ProcessPoolExecutor({.max_workers = workers, .mp_context = context()});
  }
};
PROCESSION_UNDER_EVERY_METHOD(Executor);

int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
void nothing() {}
double half(double number) { return number / 2; }
std::string greet(const std::string& who, std::string_view with) {
  return std::string(with) + " " + who;
}

struct Point {
  int x = 0;
  int y = 0;
  bool operator==(const Point&) const = default;
};
Point mirrored(Point point) { return {point.y, point.x}; }

struct Scale {  // a functor with state
  int factor = 1;
  int operator()(int number) const { return factor * number; }
};

class Account {
 public:
  Account() = default;
  explicit Account(int balance) : balance_(balance) {}
  int after(int deposit) const { return balance_ + deposit; }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(balance_);
  }

 private:
  int balance_ = 0;
};

std::unique_ptr<int> boxed(std::unique_ptr<int> number) {
  return std::make_unique<int>(*number + 1);
}
std::vector<std::unique_ptr<Point>> boxes(int count) {
  std::vector<std::unique_ptr<Point>> made;
  for (int i = 0; i < count; ++i) made.push_back(std::make_unique<Point>(Point{i, -i}));
  return made;
}

TEST_P(Executor, GivesResultsOfEveryKind) {
  auto pool = this->pool();
  EXPECT_EQ(pool.submit(fib, 15).get(), 610);
  pool.submit(nothing).get();
  EXPECT_EQ(pool.submit(half, 5).get(), 2.5);
  EXPECT_EQ(pool.submit(greet, "bob", "hello").get(), "hello bob");
  EXPECT_EQ(pool.submit(mirrored, Point{1, 2}).get(), (Point{2, 1}));
  EXPECT_EQ(pool.submit([](auto a, auto b) { return a + b; }, 1, 0.5).get(), 1.5);
  EXPECT_EQ(pool.submit(Scale{10}, 7).get(), 70);
  EXPECT_EQ(pool.submit(Scale{3}, 7).get(), 21);
  EXPECT_EQ(pool.submit(&Account::after, Account(5), 6).get(), 11);
  EXPECT_STREQ(pool.submit([] { return "text"; }).get().c_str(), "text");
}

TEST_P(Executor, MovesWhatCanOnlyBeMoved) {
  auto pool = this->pool();
  mp::Future<std::unique_ptr<int>> one = pool.submit(boxed, std::make_unique<int>(41));
  std::unique_ptr<int> got = one.get();
  EXPECT_EQ(*got, 42);
  *got = 0;
  EXPECT_EQ(*one.get(), 42);  // each get() makes a value of its own
  std::vector<std::unique_ptr<Point>> many = pool.submit(boxes, 1000).get();
  ASSERT_EQ(many.size(), 1000U);
  EXPECT_EQ(*many[999], (Point{999, -999}));
}

TEST_P(Executor, RunsTasksInOtherProcessesSideBySide) {
  auto pool = this->pool();
  // Each waits for the other.
  auto [a, b] = mp::Pipe<int>();
  mp::ProcessPoolExecutor meeting({.max_workers = 1, .mp_context = context()});
  int worker = meeting.submit(::getpid).get();
  EXPECT_NE(worker, ::getpid());
  EXPECT_EQ(meeting.submit(::getpid).get(), worker);
  EXPECT_NE(pool.submit(::getpid).get(), worker);
}

TEST_P(Executor, TellsOfAFuture) {
  auto pool = this->pool(1);
  mp::Future<int> none;
  EXPECT_FALSE(none.valid());
  EXPECT_THROW(none.get(), std::logic_error);
  auto first = pool.submit(fib, 10);
  first.wait();
  EXPECT_TRUE(first.done());
  EXPECT_FALSE(first.running());
  EXPECT_FALSE(first.cancel());
  EXPECT_FALSE(first.cancelled());
  EXPECT_EQ(first.exception(), nullptr);
  EXPECT_TRUE(first.wait_for(0s));
  mp::Future<int> copy = first;
  EXPECT_EQ(copy, first);
  EXPECT_EQ(copy.get(), first.get());
}

// Holds a worker until something comes over the connection that its initializer was given.
mp::Connection<int> gate;
void take_gate(mp::Connection<int> given) { gate = std::move(given); }
int pass_gate() { return gate.recv(); }

TEST_P(Executor, CancelsWhatNoWorkerHas) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool({.max_workers = 1,
                                .mp_context = context(),
                                .initializer = mp::call(take_gate, theirs.duplicate())});
  auto held = pool.submit(pass_gate);
  auto waiting = pool.submit(fib, 5);
  EXPECT_FALSE(held.wait_for(10ms));
  EXPECT_THROW(held.get(10ms), mp::TimeoutError);
  EXPECT_FALSE(held.done());
  EXPECT_TRUE(held.running());
  EXPECT_FALSE(held.cancel());
  EXPECT_TRUE(waiting.cancel());
  EXPECT_TRUE(waiting.cancelled());
  EXPECT_TRUE(waiting.done());
  EXPECT_THROW(waiting.get(), mp::CancelledError);
  EXPECT_NE(waiting.exception(), nullptr);
  ours.send(3);
  EXPECT_EQ(held.get(), 3);
}

TEST_P(Executor, ShutsDown) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool({.max_workers = 1,
                                .mp_context = context(),
                                .initializer = mp::call(take_gate, theirs.duplicate())});
  auto held = pool.submit(pass_gate);
  auto waiting = pool.submit(fib, 5);
  auto dropped = pool.submit(fib, 6);
  dropped.cancel();
  pool.shutdown(false);
  EXPECT_EQ(message_of<std::runtime_error>([&] { pool.submit(fib, 1); }),
            "cannot schedule new futures after shutdown");
  ours.send(7);
  pool.shutdown();
  EXPECT_EQ(held.get(), 7);
  EXPECT_EQ(waiting.get(), 5);
  EXPECT_TRUE(mp::active_children().empty());
}

TEST_P(Executor, ShutsDownWithoutWhatHasNotBegun) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool({.max_workers = 1,
                                .mp_context = context(),
                                .initializer = mp::call(take_gate, theirs.duplicate())});
  auto held = pool.submit(pass_gate);
  auto waiting = pool.submit(fib, 5);
  pool.shutdown(false, true);
  EXPECT_TRUE(waiting.cancelled());
  ours.send(1);
  EXPECT_EQ(held.get(), 1);
}

TEST_P(Executor, EndsItsTasksBeforeItself) {
  std::vector<mp::Future<int>> futures;
  {
    auto pool = this->pool();
    for (int i = 0; i < 200; ++i) futures.push_back(pool.submit(fib, i % 12));
  }
  EXPECT_TRUE(mp::active_children().empty());
  for (int i = 0; i < 200; ++i) EXPECT_EQ(futures[static_cast<std::size_t>(i)].get(), fib(i % 12));
}

TEST_P(Executor, IsMovedAndNeverUsed) {
  auto unused = this->pool();
  auto pool = this->pool();
  auto future = pool.submit(fib, 7);
  mp::ProcessPoolExecutor moved = std::move(pool);
  EXPECT_EQ(moved.submit(fib, 8).get(), 21);
  EXPECT_THROW(pool.submit(fib, 1), std::logic_error);  // NOLINT(bugprone-use-after-move)
  moved = std::move(unused);
  EXPECT_EQ(future.get(), 13);
  EXPECT_EQ(moved.submit(fib, 8).get(), 21);
}

TEST_P(Executor, RefusesNumbersThatMakeNoSense) {
  EXPECT_THROW(mp::ProcessPoolExecutor({.max_workers = 0}), std::invalid_argument);
  EXPECT_THROW(mp::ProcessPoolExecutor({.max_workers = 100'000}), std::invalid_argument);
  EXPECT_THROW(mp::ProcessPoolExecutor({.max_tasks_per_child = 0}), std::invalid_argument);
  EXPECT_THROW(mp::ProcessPoolExecutor({.retries = -1}), std::invalid_argument);
  int (*null)(int) = nullptr;
  auto pool = this->pool();
  EXPECT_THROW(pool.submit(null, 1), std::invalid_argument);
}

struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};
const bool registered = mp::register_exception<Refusal>();
struct Unknown {};

void refuse(int how) {
  if (how == 0) throw std::out_of_range("no such thing");
  if (how == 1) throw Refusal("no");
  if (how == 2) throw Unknown();
  if (how == 3) throw std::system_error(ENOENT, std::generic_category(), "open");
  throw 5;
}

TEST_P(Executor, ThrowsWhatTheTaskThrew) {
  ASSERT_TRUE(registered);
  auto pool = this->pool();
  EXPECT_EQ(message_of<std::out_of_range>([&] { pool.submit(refuse, 0).get(); }), "no such thing");
  EXPECT_EQ(message_of<Refusal>(pool.submit(refuse, 1).exception()), "no");
  try {
    pool.submit(refuse, 2).get();
    ADD_FAILURE() << "no exception";
  } catch (const mp::RemoteError& error) {
    EXPECT_TRUE(error.type_name().ends_with("Unknown")) << error.type_name();
  }
  try {
    pool.submit(refuse, 3).get();
    ADD_FAILURE() << "no exception";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  }
  EXPECT_EQ(message_of<mp::RemoteError>(pool.submit(refuse, 4).exception()), "5");
  EXPECT_EQ(message_of<std::length_error>([&] {
              pool.submit([] { throw std::length_error(std::string(200'000, 'x')); }).get();
            }).size(),
            200'000U);
  EXPECT_EQ(pool.submit(fib, 10).get(), 55);  // the pool goes on
}

class Stubborn {
 public:
  Stubborn() = default;
  explicit Stubborn(int where) : where_(where) {}
  template <class Archive>
  void save(Archive& archive) const {
    std::vector<double> large(100'000);
    archive(large, where_);
    if (where_ == 1) throw std::runtime_error("can't be written");
  }
  template <class Archive>
  void load(Archive& archive) {
    std::vector<double> large;
    archive(large, where_);
    if (where_ == 2) throw std::runtime_error("can't be read");
  }

 private:
  int where_ = 0;
};
int take_stubborn(const Stubborn&) { return 1; }
Stubborn give_stubborn(int where) { return Stubborn(where); }

TEST_P(Executor, TellsWhatSerialisingThrew) {
  auto pool = this->pool();
  EXPECT_EQ(message_of<std::runtime_error>([&] { pool.submit(take_stubborn, Stubborn(1)); }),
            "can't be written");
  EXPECT_EQ(message_of<std::runtime_error>(pool.submit(take_stubborn, Stubborn(2)).exception()),
            "can't be read");
  EXPECT_EQ(pool.submit(take_stubborn, Stubborn(0)).get(), 1);
  EXPECT_EQ(message_of<std::runtime_error>([&] { pool.submit(give_stubborn, 1).get(); }),
            "can't be written");
  auto unreadable = pool.submit(give_stubborn, 2);
  EXPECT_EQ(unreadable.exception(), nullptr);
  EXPECT_EQ(message_of<std::runtime_error>([&] { unreadable.get(); }), "can't be read");
  auto [ours, theirs] = mp::Pipe<int>();
  EXPECT_THROW(pool.submit([](mp::Connection<int>) {}, std::move(theirs)), std::invalid_argument);
  EXPECT_EQ(pool.submit(fib, 10).get(), 55);
}

double sum_of(std::span<const double> numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0);
}
std::vector<double> scaled(std::vector<double> numbers, double factor) {
  for (double& number : numbers) number *= factor;
  return numbers;
}
struct Mixed {
  std::string name;
  std::vector<int> first;
  std::string between;
  std::vector<double> second;
};
Mixed turned(Mixed mixed) {
  std::swap(mixed.name, mixed.between);
  return mixed;
}

TEST_P(Executor, CarriesLargeDataThereAndBack) {
  auto pool = this->pool();
  std::vector<double> numbers(13'107'200, 0.25);  // 100 MiB
  EXPECT_EQ(pool.submit(sum_of, numbers).get(), 3'276'800.0);
  EXPECT_EQ(pool.submit(sum_of, std::span<const double>(numbers)).get(), 3'276'800.0);
  std::vector<double> back = pool.submit(scaled, numbers, 4.0).get();
  EXPECT_EQ(back, std::vector<double>(numbers.size(), 1.0));
  for (std::size_t size : {65'535, 65'536, 65'537, 300'000}) {
    std::string text(size, 'a');
    EXPECT_EQ(pool.submit([](std::string given) { return given + "b"; }, text).get(), text + "b");
  }
  Mixed mixed{"a", std::vector<int>(50'000, 7), std::string(70'000, 'b'),
              std::vector<double>(9'000, 0.5)};
  Mixed result = pool.submit(turned, mixed).get();
  EXPECT_EQ(result.name, mixed.between);
  EXPECT_EQ(result.first, mixed.first);
  EXPECT_EQ(result.between, mixed.name);
  EXPECT_EQ(result.second, mixed.second);
  std::vector<std::string> words(20'000, "many small ones, which make a large whole");
  auto same = [](std::vector<std::string> given) { return given; };
  EXPECT_EQ(pool.submit(same, words).get(), words);
}

TEST_P(Executor, KeepsLargeResultsBeyondItsEnd) {
  mp::Future<std::vector<double>> future;
  {
    auto pool = this->pool();
    future = pool.submit(scaled, std::vector<double>(100'000, 1.0), 2.0);
  }
  EXPECT_EQ(future.get(), std::vector<double>(100'000, 2.0));
}

int prepared = 0;
void prepare(int with) { prepared = with; }
void prepare_ten() { prepared = 10; }
int get_prepared() { return prepared; }

TEST_P(Executor, RunsTheInitializerInEachWorkerFirst) {
  mp::ProcessPoolExecutor pool(
      {.max_workers = 2, .mp_context = context(), .initializer = mp::call(prepare, 7)});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(pool.submit(get_prepared).get(), 7);
  mp::ProcessPoolExecutor other(
      {.max_workers = 1, .mp_context = context(), .initializer = prepare_ten});
  EXPECT_EQ(other.submit(get_prepared).get(), 10);
  EXPECT_EQ(prepared, 0);
}

TEST_P(Executor, TakesTasksFromManyThreads) {
  auto pool = this->pool();
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<mp::Future<int>> futures;
      for (int i = 0; i < 200; ++i) futures.push_back(pool.submit(Scale{t}, i));
      for (int i = 0; i < 200; ++i) right += futures[static_cast<std::size_t>(i)].get() == t * i;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 800);
}

TEST_P(Executor, LetsManyThreadsWaitForOneTask) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::ProcessPoolExecutor pool({.max_workers = 1,
                                .mp_context = context(),
                                .initializer = mp::call(take_gate, theirs.duplicate())});
  auto future = pool.submit(pass_gate);
  std::vector<std::thread> threads;
  std::atomic<int> sum{0};
  for (int t = 0; t < 4; ++t) threads.emplace_back([&] { sum += future.get(); });
  ours.send(5);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 20);
}

int inside(int depth, const std::string& method) {
  if (depth == 0) return 1;
  mp::ProcessPoolExecutor pool({.max_workers = 1, .mp_context = mp::get_context(method)});
  return 1 + pool.submit(inside, depth - 1, method).get();
}

TEST_P(Executor, WorksInsideOfWorkers) {
  auto pool = this->pool(1);
  EXPECT_EQ(pool.submit(inside, 2, method()).get(), 3);
}

TEST_P(Executor, ReplacesWorkersAfterSoManyTasks) {
  mp::ExecutorOptions options{.max_workers = 1, .mp_context = context(), .max_tasks_per_child = 3};
  if (method() == "fork") {
    EXPECT_THROW(mp::ProcessPoolExecutor{options}, std::invalid_argument);
    return;
  }
  mp::ProcessPoolExecutor pool(options);
  std::map<int, int> tasks;
  for (int i = 0; i < 9; ++i) ++tasks[pool.submit(::getpid).get()];
  EXPECT_EQ(tasks.size(), 3U);
  for (auto [pid, count] : tasks) EXPECT_EQ(count, 3);
}

}  // namespace
