// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "every_method.hpp"

namespace procession::tests {
namespace {

class Endings : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Endings);

void nothing() {}
int with_result() { return 7; }
void call_exit(int code) { std::exit(code); }
void call_underscore_exit(int code) { ::_exit(code); }
void call_abort() { std::abort(); }
void raise_signal(int signal) { ::raise(signal); }
void call_terminate() { std::terminate(); }
void wait_for_end(mp::Connection<int> link) {
  link.send(1);
  while (true) link.recv();
}

template <class... Arguments>
int exitcode_of(const mp::Context& context, Arguments&&... arguments) {
  mp::Process process = context.Process(std::forward<Arguments>(arguments)...);
  process.start();
  process.join();
  return process.exitcode().value();
}

TEST_P(Endings, ExitCodes) {
  EXPECT_EQ(exitcode_of(context(), nothing), 0);
  EXPECT_EQ(exitcode_of(context(), with_result), 0) << "results are ignored";
  EXPECT_EQ(exitcode_of(context(), call_exit, 0), 0);
  EXPECT_EQ(exitcode_of(context(), call_exit, 3), 3);
  EXPECT_EQ(exitcode_of(context(), call_underscore_exit, 4), 4);
}

TEST_P(Endings, Signals) {
  EXPECT_EQ(exitcode_of(context(), raise_signal, SIGKILL), -SIGKILL);
  EXPECT_EQ(exitcode_of(context(), raise_signal, SIGTERM), -SIGTERM);
  EXPECT_EQ(exitcode_of(context(), raise_signal, SIGINT), -SIGINT) << "Ctrl-C isn't ignored";
}

TEST_P(Endings, Aborts) {
  errors_of([&] {
    EXPECT_EQ(exitcode_of(context(), call_abort), -SIGABRT);
    EXPECT_EQ(exitcode_of(context(), call_terminate), -SIGABRT);
  });
}

TEST_P(Endings, TerminateAndKill) {
  for (int signal : {SIGTERM, SIGKILL}) {
    auto [ours, theirs] = mp::Pipe<int>();
    mp::Process process = context().Process(wait_for_end, std::move(theirs));
    process.start();
    ours.recv();
    EXPECT_TRUE(process.is_alive());
    EXPECT_EQ(process.exitcode(), std::nullopt);
    EXPECT_FALSE(process.join(std::chrono::milliseconds(1)));
    pollfd sentinel{process.sentinel(), POLLIN, 0};
    EXPECT_EQ(::poll(&sentinel, 1, 0), 0);
    signal == SIGTERM ? process.terminate() : process.kill();
    EXPECT_EQ(::poll(&sentinel, 1, -1), 1);
    EXPECT_TRUE(process.join(std::chrono::hours(1)));
    EXPECT_FALSE(process.is_alive());
    EXPECT_EQ(process.exitcode(), -signal);
    EXPECT_EQ(process.exception(), nullptr);
    process.terminate();
    process.kill();
  }
}

TEST_P(Endings, AreShownAsPythonShowsThem) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::Process process = context().Process(wait_for_end, std::move(theirs));
  auto shown = [&] {
    std::ostringstream out;
    out << process;
    return out.str();
  };
  std::string parent = std::to_string(::getpid());
  std::string head = "<" + class_name() + " name='" + process.name() + "' ";
  EXPECT_EQ(shown(), head + "parent=" + parent + " initial>");
  process.set_daemon(true);
  process.start();
  ours.recv();
  std::string with_pid = head + "pid=" + std::to_string(*process.pid()) + " parent=" + parent;
  EXPECT_EQ(shown(), with_pid + " started daemon>");
  process.terminate();
  process.join();
  EXPECT_EQ(shown(), with_pid + " stopped exitcode=-SIGTERM daemon>");
  process.close();
  EXPECT_EQ(shown(), head + "parent=" + parent + " closed daemon>");
}

class File {
 public:
  File()
      : path_(std::filesystem::temp_directory_path() /
              ("procession-" + std::to_string(::getpid()))) {}
  ~File() { std::filesystem::remove(path_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  std::string path() const { return path_; }
  std::string text() const {
    std::ostringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }

 private:
  std::filesystem::path path_;
};

void write_unflushed(std::string path, bool exits) {
  static_cast<void>(std::freopen(path.c_str(), "w", stdout));
  std::printf("printf ");
  std::cout << "cout ";
  std::clog << "";
  if (exits) std::exit(0);
}

TEST_P(Endings, FlushTheStandardStreams) {
  for (bool exits : {false, true}) {
    File file;
    EXPECT_EQ(exitcode_of(context(), write_unflushed, file.path(), exits), 0);
    EXPECT_EQ(file.text(), "printf cout ");
  }
}

TEST_P(Endings, WriteNothingOfTheParentsTwice) {
  ::testing::internal::CaptureStdout();
  std::cout << "once ";
  std::printf("only ");
  exitcode_of(context(), nothing);
  exitcode_of(context(), call_exit, 0);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "once only ");
}

std::string exit_log;
void register_exit_handler(std::string path) {
  exit_log = std::move(path);
  std::atexit([] { std::ofstream(exit_log, std::ios::app) << "handler "; });
}

TEST_P(Endings, RunNoExitHandlersOfTheParent) {
  if (method() != "fork") GTEST_SKIP() << "only a copy of the parent has its handlers";
  File file;
  mp::ForkProcess middle([path = file.path()] {
    register_exit_handler(path);
    exitcode_of(mp::get_context("fork"), nothing);
    exitcode_of(mp::get_context("fork"), call_exit, 5);
  });
  middle.start();
  middle.join();
  EXPECT_EQ(middle.exitcode(), 0);
  EXPECT_EQ(file.text(), "");
}

void leave_children_behind(mp::Connection<int> link, std::string method) {
  // Three of them are seen to run. The daemon is ended with this process, the others are waited for.
  auto [daemon_ours, daemon_theirs] = mp::Pipe<int>();
  mp::Process daemon({.daemon = true, .mp_context = mp::get_context(method)}, wait_for_end,
                     std::move(daemon_theirs));
  daemon.start();
  daemon_ours.recv();
  mp::Process child(
      {.mp_context = mp::get_context(method)}, [](mp::Connection<int> answer) { answer.send(2); },
      std::move(link));
  child.start();
  // Dropped: a handle is not the process.
}

TEST_P(Endings, ChildrenOfAChildAreJoinedOrTerminated) {
  for (const char* nested : {"fork", "spawn", "forkserver"}) {
    EXPECT_EQ(ask<int>(context(), leave_children_behind, nested), 2) << nested;
  }
}

}  // namespace
}  // namespace procession::tests
