// SPDX-License-Identifier: Apache-2.0
#include "api/start.hpp"

#include <stdexcept>

#include "api/bytes.hpp"
#include "api/entry.hpp"
#include "api/family.hpp"
#include "api/role_record.hpp"
#include "base/error.hpp"
#include "launch/fork.hpp"
#include "launch/session.hpp"
#include "launch/spawn.hpp"
#include "launch/zygote_client.hpp"
#include "os/clone.hpp"
#include "os/process.hpp"
#include "procession/error.hpp"

namespace procession::api {

namespace {

using detail::Call;
using Phase = ProcessState::Phase;

// From the first look to the started child nobody else may start it.
std::unique_ptr<Call> begin(ProcessState& state) {
  state.check_open();
  bool own = state.creator == os::current_pid();
  std::lock_guard lock(state.mutex);
  if (state.phase != Phase::kInitial) throw std::logic_error("cannot start a process twice");
  if (!own) {
    throw std::logic_error("can only start a process object created by current process");
  }
  state.phase = Phase::kStarting;
  return std::move(state.call);
}

Role role_of(ProcessState& state) {
  Family& family = Family::instance();
  Role role;
  {
    std::shared_ptr<ProcessState> self = family.self();
    std::lock_guard lock(self->mutex);
    role.parent_name = self->name;
  }
  role.default_method = family.peek_default_method();
  role.parent = os::current_pid();
  std::lock_guard lock(state.mutex);
  role.kind = state.kind;
  role.name = state.name;
  role.identity = state.identity;
  role.daemon = state.daemon;
  return role;
}

launch::Child start_by_fork(const Role& role, Call& call) {
  flush_standard_streams();
  launch::Forked forked = launch::fork_child([] { return os::fork_process(); });
  if (forked.in_child()) run_forked(role, call, std::move(forked));
  return std::move(*forked.child);
}

launch::Executable this_program() { return {"/proc/self/exe", {os::program_name(), kChildMarker}}; }

using Held = std::vector<std::shared_ptr<const void>>;

launch::Child start_elsewhere(const Role& role, const Call& call, StartMethod method, Held& held) {
  detail::Outgoing out;
  out.state().held = &held;
  write_role(out, role);
  out.function(reinterpret_cast<detail::AnyFunction>(call.reader()));
  call.encode(out);
  channel::Payload payload = out.state().writer.take();
  launch::Order order{role.name, payload, out.state().fds};
  if (method == StartMethod::kSpawn) return launch::spawn_child(this_program(), order);
  launch::Session& session = launch::Session::instance();
  std::shared_ptr<launch::Zygote> zygote = session.zygote({});
  if (!zygote) {
    zygote =
        session.zygote({}, std::make_shared<launch::Zygote>(this_program(), channel::Payload{}));
  }
  return zygote->start(order, [] {});
}

void check_startable(const Call& call, const std::string& who) {
  if (!call.reader()) {
    throw std::logic_error(
        who + ": " + call.obstacle() +
        ". Use a function, or a functor that is a plain aggregate or has "
        "cereal's serialize(); or the start method fork, which copies everything");
  }
  if (in_static_initialisers()) {
    throw std::logic_error(who +
                           " in a static initialiser of a process that is itself being "
                           "started: it would start without end");
  }
  if (!has_main_shim()) {
    throw std::logic_error(who +
                           ": this program was linked without procession's entry, which runs "
                           "before main. Link it with the CMake target "
                           "procession::procession, or with what `pkg-config --libs "
                           "procession` says; or use the start method fork");
  }
}

launch::Child start_child(const Role& role, Call& call, StartMethod method, Held& held) {
  std::string who =
      "can't start process '" + role.name + "' by " + std::string(method_name(method));
  if (method != StartMethod::kFork) check_startable(call, who);
  try {
    return method == StartMethod::kFork ? start_by_fork(role, call)
                                        : start_elsewhere(role, call, method, held);
  } catch (const base::OsError& error) {
    throw OsError(error.error_number(), who + ": " + error.attempted());
  }
}

}  // namespace

void start(const std::shared_ptr<ProcessState>& state, StartMethod method) {
  std::unique_ptr<Call> call = begin(*state);
  try {
    Held held;
    auto child = std::make_shared<launch::Child>(start_child(role_of(*state), *call, method, held));
    std::lock_guard lock(state->mutex);
    state->held = std::move(held);
    state->pid = child->pid();
    state->child = std::move(child);
    state->phase = Phase::kStarted;
  } catch (...) {
    std::lock_guard lock(state->mutex);
    state->call = std::move(call);
    state->phase = Phase::kInitial;
    throw;
  }
  Family::instance().add(state);
}

}  // namespace procession::api
