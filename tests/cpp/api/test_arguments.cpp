// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "every_method.hpp"

// A class hierarchy that cereal knows.
struct Shape {
  virtual ~Shape() = default;
  virtual double area() const = 0;
  template <class Archive>
  void serialize(Archive&) {}
};
struct Square : Shape {
  double side = 0;
  double area() const override { return side * side; }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cereal::base_class<Shape>(this), side);
  }
};
CEREAL_REGISTER_TYPE(Square)

namespace procession::tests {
namespace {

class Arguments : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Arguments);

enum class Colour { kRed, kGreen };

struct Inner {
  std::string name;
  std::array<double, 2> place{};
  bool operator==(const Inner&) const = default;
};
struct Outer {  // a plain aggregate of what can travel, at any depth
  int number = 0;
  Colour colour = Colour::kRed;
  std::vector<Inner> inners;
  std::optional<Inner> maybe;
  bool operator==(const Outer&) const = default;
};
struct Tree {
  int value = 0;
  std::vector<Tree> children;
  bool operator==(const Tree&) const = default;
};
struct Task {  // with a function among its fields
  int (*function)(int) = nullptr;
  int argument = 0;
};

template <class T>
void echo(mp::Connection<T> answer, T value) {
  answer.send(value);
}

template <class T>
void expect_echo(const mp::Context& context, const T& value) {
  EXPECT_EQ(ask<T>(context, echo<T>, value), value);
}

TEST_P(Arguments, Scalars) {
  expect_echo(context(), 42);
  expect_echo(context(), -1.5);
  expect_echo(context(), true);
  expect_echo(context(), 'x');
  expect_echo(context(), Colour::kGreen);
  expect_echo(context(), std::size_t{1} << 63);
}

TEST_P(Arguments, StandardTypes) {
  expect_echo(context(), std::string("text\0with nul", 13));
  expect_echo(context(), std::vector<std::string>{"a", "", "c"});
  expect_echo(context(), std::vector<bool>{true, false});
  expect_echo(context(), std::map<std::string, std::vector<int>>{{"one", {1}}, {"none", {}}});
  expect_echo(context(), std::unordered_map<int, double>{{1, 2.0}});
  expect_echo(context(), std::set<int>{3, 1, 2});
  expect_echo(context(), std::optional<int>());
  expect_echo(context(), std::tuple<int, std::string, double>{1, "two", 3.0});
  expect_echo(context(), std::pair<int, char>{1, 'a'});
  expect_echo(context(), std::variant<int, std::string>("text"));
  expect_echo(context(), std::chrono::milliseconds(1500));
  expect_echo(context(), std::array<int, 3>{1, 2, 3});
  expect_echo(context(), std::deque<int>{1, 2});
  expect_echo(context(), std::complex<double>{1, -1});
}

TEST_P(Arguments, Aggregates) {
  expect_echo(context(), Inner{"inner", {1.0, 2.0}});
  expect_echo(context(), Outer{7, Colour::kGreen, {{"a", {}}, {"b", {3.0, 4.0}}}, Inner{"c", {}}});
  expect_echo(context(), Tree{1, {{2, {}}, {3, {{4, {}}}}}});
  expect_echo(context(), std::vector<Outer>(3));
}

void own_pointer(mp::Connection<int> answer, std::unique_ptr<int> number) { answer.send(*number); }
void share_pointer(mp::Connection<int> answer, std::shared_ptr<int> one, std::shared_ptr<int> two) {
  answer.send(*one + *two);
}

TEST_P(Arguments, SmartPointers) {
  EXPECT_EQ(ask<int>(context(), own_pointer, std::make_unique<int>(5)), 5);
  auto number = std::make_shared<int>(4);
  EXPECT_EQ(ask<int>(context(), share_pointer, number, number), 8);
}

void measure(mp::Connection<double> answer, std::unique_ptr<Shape> shape) {
  answer.send(shape->area());
}

TEST_P(Arguments, ObjectsOfRegisteredDerivedClasses) {
  auto square = std::make_unique<Square>();
  square->side = 3;
  EXPECT_EQ(ask<double>(context(), measure, std::move(square)), 9.0);
}

void take_literals(mp::Connection<std::string> answer, std::string text, std::string_view view,
                   const char* pointer) {
  answer.send(text + std::string(view) + pointer);
}

TEST_P(Arguments, StringLiterals) {
  EXPECT_EQ(ask<std::string>(context(), take_literals, "a", "b", "c"), "abc");
  EXPECT_EQ(ask<std::string>(
                context(), [](auto answer, auto text) { answer.send(text); }, "generic"),
            "generic");
}

int triple(int number) { return number * 3; }
void perform(mp::Connection<int> answer, Task task) { answer.send(task.function(task.argument)); }

TEST_P(Arguments, FunctionsWithinAggregates) {
  EXPECT_EQ(ask<int>(context(), perform, Task{triple, 5}), 15);
}

void convert(mp::Connection<double> answer, double number) { answer.send(number / 2); }

TEST_P(Arguments, AreConvertedToTheParametersType) {
  EXPECT_EQ(ask<double>(context(), convert, 5), 2.5) << "an int would be halved to 2";
}

void count(mp::Connection<std::size_t> answer, const std::string& text) {
  answer.send(text.size() + static_cast<std::size_t>(std::count(text.begin(), text.end(), 'y')));
}

TEST_P(Arguments, OfEverySize) {
  for (std::size_t size : {0, 1, 16'000, 17'000, 65'537, 30'000'000}) {
    std::string text(size, 'x');
    if (size > 0) text.back() = 'y';
    EXPECT_EQ(ask<std::size_t>(context(), count, text), size + (size > 0 ? 1 : 0));
  }
}

std::size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  for (std::size_t kilobytes = 0; file >> name >> kilobytes; file.ignore(100, '\n')) {
    if (name == "MemAvailable:") return kilobytes * 1024;
  }
  return 0;
}

TEST_P(Arguments, OfThreeGibibytes) {
  constexpr std::size_t kSize = std::size_t{3} << 30;
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs more memory for it than there is";
  if (available_memory() < 4 * kSize) GTEST_SKIP() << "it takes three copies";
  std::string text(kSize, 'x');
  text.back() = 'y';
  auto [ours, theirs] = mp::Pipe<std::size_t>();
  mp::Process process = context().Process(count, std::move(theirs), std::move(text));
  process.start();
  EXPECT_EQ(ours.recv(), kSize + 1);
  process.join();
}

struct Picky {  // an argument whose serialisation fails
  int number = 1;
  template <class Archive>
  void save(Archive&) const {
    throw std::domain_error("can't be saved");
  }
  template <class Archive>
  void load(Archive&) {}
};
void take_picky(Picky) {}

TEST_P(Arguments, WhatSerialisingThrowsComesOutOfStart) {
  mp::Process process = context().Process(take_picky, Picky{});
  if (method() == "fork") {
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
    return;
  }
  EXPECT_EQ(message_of<std::domain_error>([&] { process.start(); }), "can't be saved");
  EXPECT_FALSE(process.is_alive());
  EXPECT_TRUE(mp::active_children().empty());
}

struct Fussy {  // one that can't be rebuilt
  template <class Archive>
  void save(Archive& archive) const {
    archive(1);
  }
  template <class Archive>
  void load(Archive&) {
    throw std::domain_error("can't be loaded");
  }
};
void take_fussy(Fussy) {}

TEST_P(Arguments, WhatRebuildingThrowsIsTheProcesssException) {
  if (method() == "fork") GTEST_SKIP() << "nothing is rebuilt";
  mp::Process process = context().Process(take_fussy, Fussy{});
  errors_of([&] {
    process.start();
    process.join();
  });
  EXPECT_EQ(process.exitcode(), 1);
  EXPECT_EQ(message_of<std::domain_error>(process.exception()), "can't be loaded");
}

}  // namespace
}  // namespace procession::tests
