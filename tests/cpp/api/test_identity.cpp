// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "every_method.hpp"

namespace procession::tests {
namespace {

class Identity : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Identity);

template <class Shown>
std::string show(const Shown& shown) {
  std::ostringstream out;
  out << shown;
  return out.str();
}

struct Self {
  std::string name;
  bool daemon = false;
  std::string shown;
  std::optional<int> pid;
  int real_pid = 0;
  int real_parent = 0;
  bool alive = false;
  std::string parent_name;
  std::optional<int> parent_pid;
  bool parent_alive = false;
  std::string parent_shown;
  std::string child_name;
  std::size_t children = 0;
};

Self self() {
  mp::Process current = mp::current_process();
  Self self{current.name(),
            current.daemon(),
            show(current),
            current.pid(),
            ::getpid(),
            ::getppid(),
            current.is_alive(),
            {},
            {},
            {},
            {},
            mp::Process([] {}).name(),
            mp::active_children().size()};
  if (auto parent = mp::parent_process()) {
    self.parent_name = parent->name();
    self.parent_pid = parent->pid();
    self.parent_alive = parent->is_alive();
    self.parent_shown = show(*parent);
  }
  return self;
}

void tell_self(mp::Connection<Self> answer) { answer.send(self()); }

TEST_P(Identity, OfTheProgram) {
  EXPECT_EQ(mp::current_process().name(), "MainProcess");
  EXPECT_EQ(show(mp::current_process()), "<_MainProcess name='MainProcess' parent=None started>");
  EXPECT_EQ(mp::parent_process(), std::nullopt);
  EXPECT_EQ(mp::current_process().pid(), ::getpid());
  EXPECT_TRUE(mp::active_children().empty());
  EXPECT_EQ(mp::current_process(), mp::current_process());
}

TEST_P(Identity, OfAChild) {
  auto [ours, theirs] = mp::Pipe<Self>();
  mp::Process process = context().Process(tell_self, std::move(theirs));
  process.start();
  Self child = ours.recv();
  EXPECT_EQ(child.name, process.name());
  EXPECT_EQ(child.pid, process.pid());
  EXPECT_EQ(child.real_pid, process.pid());
  EXPECT_EQ(child.real_parent, ::getpid()) << "a true child";
  EXPECT_FALSE(child.daemon);
  EXPECT_TRUE(child.alive);
  std::string parent = std::to_string(::getpid());
  EXPECT_EQ(child.shown,
            "<" + class_name() + " name='" + child.name + "' parent=" + parent + " started>");
  EXPECT_EQ(child.parent_name, "MainProcess");
  EXPECT_EQ(child.parent_pid, ::getpid());
  EXPECT_TRUE(child.parent_alive);
  EXPECT_EQ(child.parent_shown, "<_ParentProcess name='MainProcess' parent=None unknown>");
  std::string number = process.name().substr(process.name().find('-') + 1);
  EXPECT_EQ(child.child_name, "Process-" + number + ":1");
  EXPECT_EQ(child.children, 0U) << "its parent's are not its own";
  process.join();
}

TEST_P(Identity, ANameAndADaemon) {
  auto [ours, theirs] = mp::Pipe<Self>();
  mp::Process process({.name = "it's me", .daemon = true, .mp_context = context()}, tell_self,
                      std::move(theirs));
  process.start();
  Self child = ours.recv();
  EXPECT_EQ(child.name, "it's me");
  EXPECT_TRUE(child.daemon);
  process.join();
}

void wait_for_end(mp::Connection<int> link) {
  try {
    while (true) link.recv();
  } catch (const mp::EOFError&) {
  }
}

TEST_P(Identity, ActiveChildren) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::Process one = context().Process(wait_for_end, theirs.duplicate());
  mp::Process two = context().Process(wait_for_end, std::move(theirs));
  one.start();
  two.start();
  std::vector<mp::Process> active = mp::active_children();
  EXPECT_EQ(active.size(), 2U);
  EXPECT_EQ(std::count(active.begin(), active.end(), one), 1);
  one.kill();
  one.join();
  EXPECT_EQ(mp::active_children(), std::vector<mp::Process>{two});
  for (mp::Process& child : mp::active_children()) child.terminate();
  two.join();
  EXPECT_TRUE(mp::active_children().empty());
}

TEST_P(Identity, NumbersGoOn) {
  mp::Process one = context().Process([] {});
  mp::Process two = context().Process([] {});
  auto number = [](const mp::Process& process) {
    return std::stoi(process.name().substr(process.name().find('-') + 1));
  };
  EXPECT_EQ(number(two), number(one) + 1);
}

}  // namespace
}  // namespace procession::tests
