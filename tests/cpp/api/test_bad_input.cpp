// SPDX-License-Identifier: Apache-2.0
#include "every_method.hpp"

namespace procession::tests {
namespace {

class BadInput : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(BadInput);

void nothing() {}
void wait_for_end(mp::Connection<int> link) {
  while (true) link.recv();
}

TEST_P(BadInput, ASecondStart) {
  mp::Process process = context().Process(nothing);
  process.start();
  EXPECT_EQ(message_of<std::logic_error>([&] { process.start(); }), "cannot start a process twice");
  process.join();
  EXPECT_EQ(message_of<std::logic_error>([&] { process.start(); }), "cannot start a process twice");
}

TEST_P(BadInput, BeforeTheStart) {
  mp::Process process = context().Process(nothing);
  EXPECT_EQ(message_of<std::logic_error>([&] { process.join(); }),
            "can only join a started process");
  EXPECT_EQ(message_of<std::invalid_argument>([&] { process.sentinel(); }), "process not started");
  EXPECT_THROW(process.terminate(), std::logic_error);
  EXPECT_THROW(process.kill(), std::logic_error);
  EXPECT_FALSE(process.is_alive());
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_EQ(process.pid(), std::nullopt);
  EXPECT_EQ(process.exception(), nullptr);
}

TEST_P(BadInput, CloseWhileItRuns) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::Process process = context().Process(wait_for_end, std::move(theirs));
  process.start();
  EXPECT_EQ(message_of<std::logic_error>([&] { process.close(); }),
            "Cannot close a process while it is still running. You should first call join() or "
            "terminate().");
  process.kill();
  process.join();
  process.close();
}

TEST_P(BadInput, UseAfterClose) {
  mp::Process process = context().Process(nothing);
  process.start();
  process.join();
  process.close();
  const char* closed = "process object is closed";
  EXPECT_EQ(message_of<std::invalid_argument>([&] { process.join(); }), closed);
  EXPECT_EQ(message_of<std::invalid_argument>([&] { process.start(); }), closed);
  EXPECT_EQ(message_of<std::invalid_argument>([&] { process.is_alive(); }), closed);
  EXPECT_EQ(message_of<std::invalid_argument>([&] { process.exitcode(); }), closed);
  EXPECT_EQ(message_of<std::invalid_argument>([&] { process.terminate(); }), closed);
  process.close();
}

TEST_P(BadInput, ADaemonAfterTheStart) {
  mp::Process process = context().Process(nothing);
  process.set_daemon(true);
  process.start();
  EXPECT_EQ(message_of<std::logic_error>([&] { process.set_daemon(false); }),
            "process has already started");
  process.join();
}

void misuse_parents_process(mp::Connection<std::string> answer, mp::Process* process) {
  std::string said;
  try {
    process->join();
  } catch (const std::logic_error& error) {
    said = error.what();
  }
  try {
    process->is_alive();
  } catch (const std::logic_error& error) {
    said += std::string("; ") + error.what();
  }
  answer.send(said);
}

TEST_P(BadInput, SomebodyElsesChild) {
  if (method() != "fork") GTEST_SKIP() << "only a copy of the parent has its processes";
  mp::Process other = context().Process(nothing);
  other.start();
  auto [ours, theirs] = mp::Pipe<std::string>();
  mp::ForkProcess process(misuse_parents_process, std::move(theirs), &other);
  process.start();
  EXPECT_EQ(ours.recv(), "can only join a child process; can only test a child process");
  process.join();
  other.join();
}

TEST_P(BadInput, JoiningOneself) {
  EXPECT_EQ(message_of<std::logic_error>([&] { mp::current_process().join(); }),
            "can only join a child process");
}

TEST_P(BadInput, ANullFunction) {
  void (*none)() = nullptr;
  EXPECT_THROW(context().Process(none), std::invalid_argument);
}

}  // namespace
}  // namespace procession::tests
