// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "every_method.hpp"

namespace procession::tests {
namespace {

using namespace std::chrono_literals;

class Queues : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Queues);

const int kMany = kSanitized ? 2'000 : 20'000;

void put_numbers(mp::Queue<int> queue, int first, int count) {
  for (int i = first; i < first + count; ++i) queue.put(i);
}

TEST_P(Queues, OneToOneInOrder) {
  mp::Queue<int> queue;
  mp::Process process = context().Process(put_numbers, queue, 0, kMany);
  process.start();
  for (int i = 0; i < kMany; ++i) ASSERT_EQ(queue.get(), i);
  process.join();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.try_get(), std::nullopt);
}

TEST_P(Queues, ManyToManyEachOnce) {
  mp::Queue<int> queue(100);
  mp::Queue<std::vector<int>> answers;
  std::vector<mp::Process> producers;
  std::vector<mp::Process> consumers;
  for (int i = 0; i < 2; ++i) {
    producers.push_back(context().Process(put_numbers, queue, i * kMany, kMany));
    consumers.push_back(context().Process(
        +[](mp::Queue<int> from, mp::Queue<std::vector<int>> to) {
          std::vector<int> all;
          for (int number = from.get(); number >= 0; number = from.get()) all.push_back(number);
          to.put(all);
        },
        queue, answers));
  }
  for (auto& process : producers) process.start();
  for (auto& process : consumers) process.start();
  for (auto& process : producers) process.join();
  put_numbers(queue, -1, 1);
  put_numbers(queue, -1, 1);
  std::multiset<int> all;
  for (int i = 0; i < 2; ++i) {
    for (int number : answers.get()) all.insert(number);
  }
  for (auto& process : consumers) process.join();
  ASSERT_EQ(all.size(), static_cast<std::size_t>(2 * kMany));
  EXPECT_EQ(*all.begin(), 0);
  EXPECT_EQ(*all.rbegin(), 2 * kMany - 1);
  EXPECT_EQ(std::set<int>(all.begin(), all.end()).size(), all.size());
}

struct Part {
  std::string name;
  std::vector<double> numbers;
  std::map<int, std::optional<std::string>> notes;

  bool operator==(const Part&) const = default;
};

Part part(std::size_t name, std::size_t numbers) {
  Part made;
  made.name = std::string(name, 'n');
  made.numbers.resize(numbers);
  std::iota(made.numbers.begin(), made.numbers.end(), 0.5);
  made.notes = {{1, "one"}, {2, std::nullopt}};
  return made;
}

void echo(mp::Queue<Part> from, mp::SimpleQueue<Part> to, int count) {
  for (int i = 0; i < count; ++i) to.put(from.get());
}

TEST_P(Queues, AggregatesOfAnySize) {
  mp::Queue<Part> there;
  mp::SimpleQueue<Part> back;
  std::vector<Part> parts{part(0, 0),      part(10, 10),           part(70'000, 3),
                          part(3, 20'000), part(100'000, 100'000), part(1, 1'000'000)};
  mp::Process process = context().Process(echo, there, back, static_cast<int>(parts.size()));
  process.start();
  for (const Part& each : parts) there.put(each);
  for (const Part& each : parts) EXPECT_TRUE(back.get() == each);
  process.join();
  EXPECT_TRUE(back.empty());
}

// Large, but of small pieces.
TEST_P(Queues, ManySmallStrings) {
  mp::Queue<std::vector<std::string>> queue;
  std::vector<std::string> strings(50'000, "a string of some length");
  mp::Process process = context().Process(
      +[](mp::Queue<std::vector<std::string>> to) {
        to.put(std::vector<std::string>(50'000, "a string of some length"));
      },
      queue);
  process.start();
  EXPECT_TRUE(queue.get() == strings);
  process.join();
}

TEST_P(Queues, Bounded) {
  mp::Queue<int> queue(2);
  EXPECT_TRUE(queue.try_put(1));
  EXPECT_FALSE(queue.full());
  EXPECT_TRUE(queue.put_for(2, 1s));
  EXPECT_TRUE(queue.full());
  EXPECT_FALSE(queue.try_put(3));
  EXPECT_FALSE(queue.put_for(3, 5ms));
  EXPECT_EQ(queue.qsize(), 2U);
  mp::Process process = context().Process(put_numbers, queue, 3, 3);
  process.start();
  for (int i = 1; i <= 5; ++i) EXPECT_EQ(queue.get(), i);
  EXPECT_EQ(queue.get_for(5ms), std::nullopt);
  process.join();
}

TEST_P(Queues, WhatWasPutOutlivesItsProducer) {
  mp::Queue<std::string> queue;
  mp::Process process = context().Process(
      +[](mp::Queue<std::string> to) {
        to.put("small");
        to.put(std::string(1'000'000, 'l'));
        ::kill(::getpid(), SIGKILL);
      },
      queue);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), -SIGKILL);
  EXPECT_EQ(queue.get(), "small");
  EXPECT_EQ(queue.get(), std::string(1'000'000, 'l'));
}

TEST_P(Queues, Joinable) {
  mp::JoinableQueue<int> queue;
  EXPECT_TRUE(queue.join_for(0s));
  for (int i = 0; i < 10; ++i) queue.put(i);
  EXPECT_FALSE(queue.join_for(5ms));
  mp::Process process = context().Process(
      +[](mp::JoinableQueue<int> from) {
        for (int i = 0; i < 10; ++i) {
          from.get();
          from.task_done();
        }
      },
      queue);
  process.start();
  queue.join();
  EXPECT_EQ(message_of<std::logic_error>([&] { queue.task_done(); }),
            "task_done() called too many times");
  process.join();
}

TEST_P(Queues, OfFunctionsAndOfQueues) {
  mp::Queue<int (*)(int)> functions;
  mp::Queue<mp::Queue<int>> queues;
  mp::Process process = context().Process(
      +[](mp::Queue<int (*)(int)> calls, mp::Queue<mp::Queue<int>> answers) {
        answers.get().put(calls.get()(20));
      },
      functions, queues);
  process.start();
  functions.put(+[](int number) { return number + 1; });
  mp::Queue<int> answer;
  queues.put(answer);
  EXPECT_EQ(answer.get(), 21);
  process.join();
}

struct Picky {
  int number = 0;
  template <class Archive>
  void save(Archive& archive) const {
    if (number == 13) throw std::domain_error("not 13");
    archive(number);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(number);
    if (number == 14) throw std::domain_error("not 14");
  }
};

TEST_P(Queues, WhatSerialisingThrowsComesOut) {
  mp::Queue<Picky> queue;
  EXPECT_THROW(queue.put({13}), std::domain_error);
  EXPECT_TRUE(queue.empty());
  queue.put({14});
  EXPECT_THROW(queue.get(), std::domain_error);
  EXPECT_TRUE(queue.empty());
  queue.put({15});
  EXPECT_EQ(queue.get().number, 15);
}

// A serialize() that itself uses queues.
struct Nested {
  mp::Queue<std::string> other;
  template <class Archive>
  void save(Archive& archive) const {
    mp::Queue<std::string> to = other;
    to.put("on the way");
    archive(other, std::string("first"));
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(other);
    if (other.get() != "on the way") throw std::logic_error("lost");
    std::string text;
    archive(text);
    if (text != "first") throw std::logic_error("torn");
  }
};

TEST_P(Queues, WithinSerialisation) {
  mp::Queue<Nested> queue;
  queue.put({});
  EXPECT_TRUE(queue.get().other.empty());
}

TEST_P(Queues, ClosedOnes) {
  mp::Queue<int> queue;
  mp::Queue<int> other = queue;
  queue.close();
  EXPECT_TRUE(queue.closed());
  EXPECT_THROW(queue.put(1), std::invalid_argument);
  other.put(1);
  EXPECT_EQ(other.get(), 1);
}

// Processes that put and get are killed again and again; whoever is left goes on.
TEST_P(Queues, KillsOnAnyLine) {
  mp::Queue<std::vector<int>> queue(50);
  mp::Value<int> stop;
  auto churn = +[](mp::Queue<std::vector<int>> both, mp::Value<int> until, int seed) {
    for (int i = 0; std::atomic_ref(until.value()).load() == 0; ++i) {
      std::size_t size = (i + seed) % 50 == 0 ? 20'000 : 10;  // 80 kB: in a block
      both.put_for(std::vector<int>(size, i), 1ms);
      if (auto got = both.get_for(1ms)) {
        if (!std::ranges::all_of(*got, [&](int each) { return each == got->front(); })) ::abort();
      }
    }
  };
  const int kills = kSanitized ? 5 : 15;
  std::vector<mp::Process> processes;
  for (int i = 0; i < 2; ++i) processes.push_back(context().Process(churn, queue, stop, i));
  for (auto& process : processes) process.start();
  for (int i = 0; i < kills; ++i) {
    mp::Process& victim = processes[static_cast<std::size_t>(i % 2)];
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + i % 7));
    victim.kill();
    victim.join();
    EXPECT_EQ(victim.exitcode(), -SIGKILL);
    victim = context().Process(churn, queue, stop, i);
    victim.start();
  }
  stop.set(1);
  for (auto& process : processes) {
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  while (queue.try_get()) {
  }
  queue.put({1, 2, 3});
  EXPECT_EQ(queue.get(), (std::vector<int>{1, 2, 3}));
}

// --- shared memory

TEST_P(Queues, ValuesAndArrays) {
  mp::Value<double> value(0.5);
  mp::Array<int> array{1, 2, 3};
  mp::Array<int> large(1'000'000);
  EXPECT_EQ(std::accumulate(large.begin(), large.end(), 0), 0) << "zero at first";
  mp::Process process = context().Process(
      +[](mp::Value<double> one, mp::Array<int> few, mp::Array<int> many) {
        one.set(one.get() * 2);
        for (int& each : few) each *= 10;
        many.at(999'999) = 7;
      },
      value, array, large);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(value.get(), 1.0);
  EXPECT_EQ(std::vector<int>(array.begin(), array.end()), (std::vector<int>{10, 20, 30}));
  EXPECT_EQ(large[999'999], 7);
  EXPECT_THROW(array.at(3), std::out_of_range);
  EXPECT_TRUE(mp::Array<int>().empty());
}

TEST_P(Queues, SharedMemory) {
  for (std::size_t size : {0, 1, 10'000, 16'384, 16'385, 10'000'000}) {
    mp::SharedMemory memory(size);
    EXPECT_EQ(memory.size(), size);
    mp::Process process = context().Process(
        +[](mp::SharedMemory theirs) {
          for (std::byte& byte : theirs.bytes()) byte = std::byte{3};
        },
        memory);
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
    EXPECT_TRUE(std::ranges::all_of(memory.bytes(), [](std::byte b) { return b == std::byte{3}; }));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.bytes().data()) % 64, 0U);
  }
}

}  // namespace
}  // namespace procession::tests
