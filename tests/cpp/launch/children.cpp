// SPDX-License-Identifier: Apache-2.0
#include "children.hpp"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <sstream>
#include <thread>

#include "launch/fork.hpp"
#include "launch/life.hpp"
#include "launch/session.hpp"
#include "launch/zygote_client.hpp"
#include "os/clone.hpp"
#include "os/exec.hpp"
#include "os/process.hpp"

namespace procession::launch {

Executable this_program() { return {"/proc/self/exe", {"test_launch", "--child"}}; }

channel::Payload payload_of(const std::string& text) {
  channel::PayloadWriter writer;
  writer.append(base::as_bytes(text));
  return writer.take();
}

namespace {

std::string open_descriptors() {
  std::string found;
  DIR* folder = ::opendir("/proc/self/fd");
  while (dirent* entry = ::readdir(folder)) {
    std::string name = entry->d_name;
    if (name.front() != '.' && name != std::to_string(::dirfd(folder))) found += name + " ";
  }
  ::closedir(folder);
  return found;
}

int act(const std::string& text, std::vector<os::Fd>& fds, const ToParent& to_parent) {
  std::size_t end = std::min(text.find('\n'), text.size());
  std::istringstream line(text.substr(0, end));
  std::string verb;
  line >> verb;
  int number = 0;
  if (verb == "exit" && line >> number) return number;
  if (verb == "signal" && line >> number) ::raise(number);
  while (verb == "wait" || verb == "signal") ::pause();
  if (verb == "talk") {
    channel::send_message(fds.at(0), 1, payload_of(text.substr(end)));
  } else if (verb == "fds") {
    channel::send_message(fds.at(0), 1, payload_of(open_descriptors()));
  } else if (verb == "fail") {
    to_parent.report(payload_of(text.substr(verb.size() + 1)));
    return 1;
  } else if (verb == "nest") {
    std::string method;
    line >> method;
    Child child = start_child(method, "talk\ngrandchild", {fds.at(0).get()});
    int code = end_of(child).value();
    Session::instance().end_idle();
    return code;
  } else {
    return 99;
  }
  return 0;
}

class TestEntry : public Entry {
 public:
  void configure(Start start) override {
    channel::PayloadReader reader(std::move(start.payload));
    if (base::as_text(reader.bytes()) == "with a thread") {
      std::thread([] { ::pause(); }).detach();
    }
  }
  int run(Start start, bool, const ToParent& to_parent) override {
    channel::PayloadReader reader(std::move(start.payload));
    return act(std::string(base::as_text(reader.bytes())), start.fds, to_parent);
  }
  void refuse(const Start&, const char* why, const ToParent& to_parent) override {
    to_parent.report(payload_of(why));
  }
};

Child start_by_fork(const std::string& line, const std::vector<int>& fds) {
  Forked forked = fork_child([] { return os::fork_process(); });
  if (!forked.in_child()) return std::move(*forked.child);
  std::vector<os::Fd> copies;
  for (int fd : fds) copies.push_back(os::duplicate(fd));
  os::exit_now(act(line, copies, ToParent(forked.socket)));
}

std::shared_ptr<Zygote> zygote() {
  Session& session = Session::instance();
  if (auto zygote = session.zygote({})) return zygote;
  return session.zygote({}, std::make_shared<Zygote>(this_program(), channel::Payload{}));
}

}  // namespace

void live_as_test_child() {
  TestEntry entry;
  live(os::Fd(os::kInheritedSocket), entry);
}

Child start_child(const std::string& method, const std::string& line, const std::vector<int>& fds) {
  if (method == "fork") return start_by_fork(line, fds);
  channel::Payload payload = payload_of(line);
  Order order{"test", payload, fds};
  if (method == "spawn") return spawn_child(this_program(), order);
  return zygote()->start(order, [] {});
}

os::ExitStatus end_of(Child& child) {
  while (child.wait_until(base::Deadline::never()) != base::Waited::kReady) {
  }
  return child.try_wait().value_or(os::kStatusLost);
}

std::string hear(const os::Fd& socket) {
  channel::Message message;
  os::Received received = os::Received::kInterrupted;
  while (received == os::Received::kInterrupted) {
    received = channel::receive_message(socket, message, true);
  }
  if (received != os::Received::kPacket) return "";
  channel::PayloadReader reader(std::move(message.payload));
  return std::string(base::as_text(reader.bytes()));
}

pid_t zygote_pid() { return zygote()->pid(); }

void EachMethod::SetUp() {
  Session::instance().own_pidfd();  // made once, kept for good
  LeavesNothing::SetUp();
}

void EachMethod::settle() {
  Session::instance().end_idle();
  Session::instance().reap_abandoned();
}

}  // namespace procession::launch
