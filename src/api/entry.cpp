// SPDX-License-Identifier: Apache-2.0
#include "api/entry.hpp"

#include <cxxabi.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "api/bytes.hpp"
#include "api/failure.hpp"
#include "api/role_record.hpp"
#include "api/shared.hpp"
#include "launch/life.hpp"
#include "os/exec.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"
#include "procession/detail/main_shim.hpp"

namespace procession::api {

namespace {

bool main_shim_linked = false;
bool made_as_child = false;
bool reached_entry = false;
bool forked_child = false;

void finish() {
  Family::instance().finish();
  flush_standard_streams();
  // Under fork the other streams hold what the parent has not written yet.
  if (!forked_child) std::fflush(nullptr);
}

[[noreturn]] void leave(int code) {
  finish();
  os::exit_now(code);
}

void tell(const std::string& name, const std::string& line) {
  std::cout.flush();
  std::fprintf(stderr, "Process %s: %s\n", name.c_str(), line.c_str());
}

int fail(const std::string& name, const launch::ToParent& to_parent) {
  std::exception_ptr thrown = std::current_exception();
  tell(name, describe(thrown));
  try {
    to_parent.report(encode_failure(thrown));
  } catch (const std::exception&) {  // there is no descriptor left to say it with
  }
  return 1;
}

// Runs the target as the process that `role` names.
template <class Target>
int run_as(Role role, os::Fd parent_pidfd, const launch::ToParent& to_parent, Target target) {
  const std::string name = role.name;
  try {
    Family::instance().become(std::move(role), std::move(parent_pidfd));
    os::at_exit([](int code) { leave(code); });
    target();
    return 0;
  } catch (const abi::__forced_unwind&) {  // pthread_exit
    throw;
  } catch (...) {
    return fail(name, to_parent);
  }
}

enum class Earnest { kYes, kRehearsal };

int run_start(launch::Start start, const launch::ToParent& to_parent, Earnest earnest) {
  auto in =
      std::make_unique<detail::Incoming::State>(std::move(start.payload), std::move(start.fds));
  Role role = read_role(*in);
  role.name = std::move(start.name);
  role.parent = start.parent;
  return run_as(std::move(role), std::move(start.parent_pidfd), to_parent, [&] {
    if (earnest == Earnest::kYes) AnyShared::make_all();
    detail::Incoming incoming(std::move(in));
    auto reader = reinterpret_cast<detail::Call::Reader>(incoming.function());
    reader(incoming);
  });
}

// A call that does nothing.
channel::Payload idle_call() {
  detail::Call::Reader nothing = [](detail::Incoming&) {};
  detail::Outgoing out;
  write_role(out, Role());
  out.function(reinterpret_cast<detail::AnyFunction>(nothing));
  return out.state().writer.take();
}

class CallEntry : public launch::Entry {
 public:
  void configure(launch::Start) override {
    try {
      rehearsal_.emplace(idle_call());
      warm_up();
    } catch (const std::exception&) {  // only a convenience
      rehearsal_.reset();
    }
  }

  void warm_up() override {
    if (!rehearsal_) return;
    os::Fd nobody;
    run_start(rehearsal_->start(), launch::ToParent(nobody), Earnest::kRehearsal);
    finish();
  }

  int run(launch::Start start, bool, const launch::ToParent& to_parent) override {
    leave(run_start(std::move(start), to_parent, Earnest::kYes));
  }

  void refuse(const launch::Start& start, const char* why,
              const launch::ToParent& to_parent) override {
    try {
      throw std::runtime_error(why);
    } catch (...) {
      fail(start.name, to_parent);
    }
  }

 private:
  std::optional<launch::Rehearsal> rehearsal_;
};

}  // namespace

void flush_standard_streams() {
  std::cout.flush();
  std::cerr.flush();
  std::clog.flush();
  std::fflush(stdout);
  std::fflush(stderr);
}

void run_forked(Role role, detail::Call& call, launch::Forked forked) {
  forked_child = true;
  reached_entry = true;
  os::replace_fd(os::open_null().get(), 0);  // as every child has it
  launch::ToParent to_parent(forked.socket);
  leave(run_as(std::move(role), std::move(forked.parent_pidfd), to_parent, [&] { call.run(); }));
}

bool has_main_shim() noexcept { return main_shim_linked; }
bool in_static_initialisers() noexcept { return made_as_child && !reached_entry; }

}  // namespace procession::api

namespace procession::detail {

void note_main_shim(int argc, char** argv) noexcept {
  api::main_shim_linked = true;
  api::made_as_child = is_child(argc, argv);
}

// Ahead of the initialisers of shared libraries that use this one, which come before the program's.
// glibc hands main's arguments to constructors.
__attribute__((constructor(101))) static void note_arguments(int argc, char** argv) {
  api::made_as_child = is_child(argc, argv);
}

bool is_child(int argc, char** argv) noexcept {
  return argc == 2 && std::strcmp(argv[1], api::kChildMarker) == 0 &&
         os::is_packet_socket(os::kInheritedSocket);
}

void live_as_child(char** argv) {
  api::reached_entry = true;
  const char* slash = std::strrchr(argv[0], '/');
  os::set_process_name(slash ? slash + 1 : argv[0]);  // else "exe", from /proc/self/exe
  api::CallEntry entry;
  launch::live(os::Fd(os::kInheritedSocket), entry);
}

}  // namespace procession::detail
