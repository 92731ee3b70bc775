// SPDX-License-Identifier: Apache-2.0
// api/every_method: tests of the C++ front door that are run under each start method.
#pragma once

#include <cstdio>
#include <procession/procession.hpp>
#include <string>
#include <utility>

#include "leftovers.hpp"

namespace procession::tests {

namespace mp = procession;

class EveryMethod : public LeavesNothing, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override;
  void settle() override { mp::end_idle(); }

  std::string method() const { return GetParam(); }
  mp::Context context() const { return mp::get_context(GetParam()); }

  // "ForkProcess", ...: Python's name of the class.
  std::string class_name() const;
};

// The same for pools, which fork beside threads when a worker is to be replaced. Not under
// ThreadSanitizer: another thread may hold a lock of its allocator then (seen with gcc 12: traceAllocator), for
// which the copy waits for ever.
class EveryPoolMethod : public EveryMethod {
 protected:
  void SetUp() override;
};

// Runs a target that takes a connection as its first argument, and gives what it sent.
template <class T, class Target, class... Arguments>
T ask(const mp::Context& context, Target&& target, Arguments&&... arguments) {
  auto [ours, theirs] = mp::Pipe<T>();
  mp::Process process = context.Process(std::forward<Target>(target), std::move(theirs),
                                        std::forward<Arguments>(arguments)...);
  process.start();
  T answer = ours.recv();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  return answer;
}

// What is written to stderr, by this process and its children, while `body` runs.
template <class Body>
std::string errors_of(Body&& body) {
  ::testing::internal::CaptureStderr();
  body();
  return ::testing::internal::GetCapturedStderr();
}

// The message of the exception that `body` throws; fails the test if it throws no such.
template <class Error, std::invocable Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no exception";
  return "";
}

template <class Error>
std::string message_of(const std::exception_ptr& thrown) {
  return message_of<Error>([&] {
    if (thrown) std::rethrow_exception(thrown);
  });
}

}  // namespace procession::tests

#define PROCESSION_UNDER_EVERY_METHOD(suite)                                          \
  INSTANTIATE_TEST_SUITE_P(, suite, ::testing::Values("fork", "spawn", "forkserver"), \
                           [](const auto& test) { return std::string(test.param); })
