// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <thread>

#include "every_method.hpp"

namespace procession::tests {
namespace {

class BadLuck : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(BadLuck);

void nothing() {}
void answer_number(mp::Connection<int> answer, int number) { answer.send(number); }

TEST_P(BadLuck, NoDescriptorLeft) {
  mp::Process process = context().Process(nothing);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none{3, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  std::error_code code;
  std::string message;
  try {
    process.start();
  } catch (const mp::OsError& error) {
    code = error.code();
    message = error.what();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(code, std::errc::too_many_files_open);
  EXPECT_EQ(message.find("can't start process '" + process.name() + "' by " + method() + ": "), 0U)
      << message;
  EXPECT_NE(message.find("Too many open files"), std::string::npos) << message;
  EXPECT_EQ(message.find("Too many open files"), message.rfind("Too many open files")) << message;
  process.start();  // what failed can be tried again
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(BadLuck, ManyThreadsStart) {
  if (kSanitized && method() == "fork") GTEST_SKIP() << "not supported by the sanitizers";
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 10; ++i) right += ask<int>(context(), answer_number, thread) == thread;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 80);
}

TEST_P(BadLuck, OneHandleInManyThreads) {
  mp::Process process = context().Process(nothing);
  std::atomic<int> started = 0;
  std::atomic<int> joined = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      try {
        process.start();
        ++started;
      } catch (const std::logic_error&) {
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      joined += process.join();
      EXPECT_EQ(process.exitcode(), 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(started, 1);
  EXPECT_EQ(joined, 8);
}

}  // namespace
}  // namespace procession::tests
