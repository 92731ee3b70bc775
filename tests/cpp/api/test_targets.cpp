// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <filesystem>

#include "every_method.hpp"
#include "shared_library.hpp"

namespace procession::tests {
namespace {

namespace fs = std::filesystem;
using Answer = mp::Connection<int>;

class Targets : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Targets);

void a_function(Answer answer, int number) { answer.send(number + 1); }
void by_reference(Answer& answer, const int& number) { answer.send(number + 1); }

template <class T, int kAdded>
void a_template(Answer answer, T number) {
  answer.send(static_cast<int>(number + kAdded));
}

struct Adder {  // a plain aggregate
  int added = 0;
  void operator()(Answer answer, int number) const { answer.send(number + added); }
};

class Scaler {  // with private state, and cereal's serialize
 public:
  Scaler() = default;
  explicit Scaler(int factor) : factor_(factor) {}
  void operator()(Answer answer, int number) { answer.send(number * factor_); }

  template <class Archive>
  void serialize(Archive& archive) {
    archive(factor_);
  }

 private:
  int factor_ = 0;
};

struct Base {
  int number = 1;
  virtual ~Base() = default;
  virtual void tell(Answer answer) const { answer.send(number); }
  void tell_twice(Answer answer) const { answer.send(2 * number); }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number);
  }
};
struct Derived : Base {
  void tell(Answer answer) const override { answer.send(-number); }
};

TEST_P(Targets, Functions) {
  EXPECT_EQ(ask<int>(context(), a_function, 1), 2);
  EXPECT_EQ(ask<int>(context(), &a_function, 2), 3);
  EXPECT_EQ(ask<int>(context(), by_reference, 3), 4);
}

TEST_P(Targets, TemplateInstances) {
  EXPECT_EQ(ask<int>(context(), a_template<long, 5>, 1), 6);
  EXPECT_EQ(ask<int>(context(), a_template<double, 7>, 1.5), 8);
}

TEST_P(Targets, LambdasWithoutCaptures) {
  EXPECT_EQ(ask<int>(
                context(), [](Answer answer, int n) { answer.send(n * 2); }, 4),
            8);
  EXPECT_EQ(ask<int>(
                context(), [](auto answer, auto n) { answer.send(n * 3); }, 4),
            12);
}

TEST_P(Targets, FunctorsWithState) {
  EXPECT_EQ(ask<int>(context(), Adder{10}, 4), 14);
  EXPECT_EQ(ask<int>(context(), Scaler(10), 4), 40);
}

TEST_P(Targets, MemberFunctions) {
  auto [ours, theirs] = mp::Pipe<int>();
  Derived derived;
  derived.number = 4;
  mp::Process once = context().Process(&Base::tell, derived, theirs.duplicate());
  once.start();
  EXPECT_EQ(ours.recv(), -4) << "a virtual one";
  once.join();
  mp::Process twice = context().Process(&Base::tell_twice, derived, std::move(theirs));
  twice.start();
  EXPECT_EQ(ours.recv(), 8);
  twice.join();
}

void apply(Answer answer, int (*function)(int), int number) { answer.send(function(number)); }

TEST_P(Targets, FunctionsOfASharedLibrary) {
  EXPECT_EQ(ask<int>(context(), apply, in_the_shared_library, 5), 15);
  mp::Process process = context().Process(in_the_shared_library, 5);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

// A plugin, at a path of its own, for as long as the test runs.
class Plugin {
 public:
  explicit Plugin(const char* file) : path_(fs::temp_directory_path() / unique_name()) {
    fs::copy_file(file, path_);
    handle_ = ::dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  ~Plugin() {
    ::dlclose(handle_);
    fs::remove(path_);
  }
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  int (*function() const)(int) {
    auto get = reinterpret_cast<int (*(*)())(int)>(::dlsym(handle_, "plugin_function"));
    return get();
  }
  const fs::path& path() const { return path_; }

 private:
  static std::string unique_name() {
    static int count = 0;
    return "procession-plugin-" + std::to_string(::getpid()) + "-" + std::to_string(++count) +
           ".so";
  }

  fs::path path_;
  void* handle_ = nullptr;
};

TEST_P(Targets, FunctionsOfAPlugin) {
  Plugin plugin(TEST_PLUGIN);
  EXPECT_EQ(ask<int>(context(), apply, plugin.function(), 5), 6);
  mp::Process process = context().Process(plugin.function(), 5);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(Targets, APluginThatWasReplacedOnDisk) {
  if (method() == "fork") GTEST_SKIP() << "a copy has what its parent has loaded";
  Plugin plugin(TEST_PLUGIN);
  fs::path next = plugin.path().string() + ".new";
  fs::copy_file(TEST_PLUGIN_REBUILT, next);
  fs::rename(next, plugin.path());
  mp::Process process = context().Process(plugin.function(), 5);
  errors_of([&] {
    process.start();
    process.join();
  });
  EXPECT_EQ(process.exitcode(), 1);
  std::string message = message_of<std::runtime_error>(process.exception());
  EXPECT_NE(message.find(plugin.path()), std::string::npos) << message;
  EXPECT_NE(message.find("replaced on disk"), std::string::npos) << message;
}

TEST_P(Targets, LambdasWithCapturesRunUnderForkOnly) {
  int captured = 20;
  auto target = [captured](Answer answer) { answer.send(captured + 1); };
  if (method() == "fork") {
    EXPECT_EQ(ask<int>(context(), target), 21);
    return;
  }
  mp::Process process = context().Process(target, Answer());
  std::string message = message_of<std::logic_error>([&] { process.start(); });
  EXPECT_EQ(message.find("can't start process '" + process.name() + "' by " + method()), 0U)
      << message;
  EXPECT_NE(message.find("captures"), std::string::npos) << message;
  EXPECT_EQ(process.pid(), std::nullopt);
}

TEST_P(Targets, AForkProcessTakesAnything) {
  auto [ours, theirs] = mp::Pipe<int>();
  const int* pointer = new int(6);
  mp::ForkProcess process([&link = theirs](const int* number) { link.send(*number); }, pointer);
  process.start();
  EXPECT_EQ(ours.recv(), 6);
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  delete pointer;
}

}  // namespace
}  // namespace procession::tests
