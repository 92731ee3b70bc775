// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "every_method.hpp"

namespace procession::tests {
namespace {

class Contexts : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Contexts);

TEST_P(Contexts, AreValues) {
  EXPECT_EQ(context().get_start_method(), method());
  EXPECT_EQ(context(), mp::get_context(method()));
  EXPECT_NE(context(), mp::get_context());
}

TEST_P(Contexts, NameTheirProcesses) {
  mp::Process process = context().Process([] {});
  EXPECT_EQ(process.name().find(class_name() + "-"), 0U) << process.name();
}

TEST_P(Contexts, TravelAsOptions) {
  mp::Process process({.name = "named", .daemon = true, .mp_context = context()}, [] {});
  EXPECT_EQ(process.name(), "named");
  EXPECT_TRUE(process.daemon());
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(Contexts, UnknownStartMethods) {
  for (const char* name : {"x", "", "FORK", "fork "}) {
    std::string expected = "cannot find context for '" + std::string(name) + "'";
    EXPECT_EQ(message_of<std::invalid_argument>([&] { mp::get_context(name); }), expected);
    EXPECT_EQ(message_of<std::invalid_argument>([&] { mp::set_start_method(name); }), expected);
  }
}

TEST_P(Contexts, AllStartMethodsWithTheDefaultFirst) {
  std::vector<std::string> methods = mp::get_all_start_methods();
  EXPECT_EQ(methods.front(), "forkserver");
  std::sort(methods.begin(), methods.end());
  EXPECT_EQ(methods, (std::vector<std::string>{"fork", "forkserver", "spawn"}));
}

// The default is of the whole process: each of these has one of its own.
void default_of_child(mp::Connection<std::string> answer) { answer.send(mp::get_start_method()); }
void set_default(mp::Connection<std::string> answer, std::string method) {
  std::string said;
  try {
    mp::set_start_method(method);
  } catch (const std::logic_error& error) {
    said = error.what();
  }
  mp::set_start_method(method, true);
  auto [ours, theirs] = mp::Pipe<std::string>();
  mp::Process process(default_of_child, std::move(theirs));
  std::string name = process.name().substr(0, process.name().find('-'));
  process.start();
  answer.send(said + "; " + mp::get_start_method() + "; " + ours.recv() + "; " + name);
  process.join();
}

TEST_P(Contexts, TheDefaultIsHandedDown) {
  EXPECT_EQ(ask<std::string>(context(), default_of_child), "forkserver");
  for (const std::string& set : mp::get_all_start_methods()) {
    EXPECT_EQ(ask<std::string>(context(), set_default, set),
              "context has already been set; " + set + "; " + set + "; Process");
  }
}

TEST_P(Contexts, CpuCount) { EXPECT_GE(mp::cpu_count(), 1); }

}  // namespace
}  // namespace procession::tests
