// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "every_method.hpp"

namespace procession::tests {
namespace {

namespace fs = std::filesystem;

class Surroundings : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Surroundings);

struct Seen {
  std::string variable;
  bool has_removed = false;
  std::string directory;
  unsigned mask = 0;
  bool input_is_empty = false;
  bool operator==(const Seen&) const = default;
};

void look(mp::Connection<Seen> answer) {
  const char* variable = ::getenv("PROCESSION_VARIABLE");
  mode_t mask = ::umask(0);
  char byte = 0;
  answer.send({variable ? variable : "", ::getenv("PROCESSION_REMOVED") != nullptr,
               fs::current_path(), mask, ::read(0, &byte, 1) == 0});
}

// A process by fork server sees the moment of its own start, not of the fork server's.
TEST_P(Surroundings, AreThoseOfTheMoment) {
  fs::path directory = fs::current_path();
  mode_t mask = ::umask(022);
  ::setenv("PROCESSION_REMOVED", "x", 1);
  EXPECT_EQ(ask<Seen>(context(), look), (Seen{"", true, directory, 022, true}));
  ::setenv("PROCESSION_VARIABLE", "a value = with signs", 1);
  ::unsetenv("PROCESSION_REMOVED");
  ::umask(077);
  fs::current_path("/");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ask<Seen>(context(), look), (Seen{"a value = with signs", false, "/", 077, true}));
  }
  ::unsetenv("PROCESSION_VARIABLE");
  ::umask(mask);
  fs::current_path(directory);
}

void say(const std::string& text) { std::printf("%s", text.c_str()); }

TEST_P(Surroundings, OutputGoesWhereTheParentsGoes) {
  mp::Process first = context().Process(say, "");
  first.start();
  first.join();
  ::testing::internal::CaptureStdout();
  for (const char* text : {"a", "b", "c"}) {
    mp::Process process = context().Process(say, text);
    process.start();
    process.join();
  }
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "abc");
}

void tell_name(mp::Connection<std::string> answer) {
  std::string name;
  std::getline(std::ifstream("/proc/self/comm"), name);
  answer.send(name);
}

TEST_P(Surroundings, TheProcessIsNamedAsItsProgram) {
  std::string name;
  std::getline(std::ifstream("/proc/self/comm"), name);
  EXPECT_EQ(ask<std::string>(context(), tell_name), name);
}

}  // namespace
}  // namespace procession::tests
