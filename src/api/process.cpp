// SPDX-License-Identifier: Apache-2.0
#include "procession/process.hpp"

#include <csignal>
#include <ostream>
#include <stdexcept>

#include "api/family.hpp"
#include "api/start.hpp"
#include "launch/session.hpp"
#include "os/process.hpp"

namespace procession {

using api::Family;
using detail::ProcessState;
using Phase = ProcessState::Phase;
using Role = ProcessState::Role;

namespace detail {
Call::~Call() = default;
}

Process::Process(ProcessOptions options, std::unique_ptr<detail::Call> call)
    : state_(Family::instance().conceive(api::class_name(options.mp_context.method_))) {
  state_->context = options.mp_context;
  state_->call = std::move(call);
  if (!options.name.empty()) state_->name = std::move(options.name);
  if (options.daemon) state_->daemon = *options.daemon;
}

Process::Process(std::shared_ptr<ProcessState> state) noexcept : state_(std::move(state)) {}

void Process::start() {
  std::optional<detail::StartMethod> method = state_->context.method_;
  api::start(state_, method ? *method : Family::instance().default_method());
}

bool Process::join() { return join(Seconds::max()); }

bool Process::join(Seconds timeout) {
  state_->check_open();
  if (state_->role != Role::kParent) {
    state_->check_own("join");
    if (!state_->started_child()) throw std::logic_error("can only join a started process");
  }
  if (!state_->wait_until(base::Deadline::after(timeout))) return false;
  Family::instance().remove(state_);
  return true;
}

bool Process::is_alive() const {
  state_->check_open();
  if (state_->role == Role::kSelf) return true;
  if (state_->role == Role::kParent) return !state_->wait_until(base::Deadline::now());
  state_->check_own("test");
  return state_->started_child() && !exitcode();
}

std::optional<int> Process::exitcode() const {
  state_->check_open();
  if (state_->creator != os::current_pid()) return std::nullopt;
  std::optional<int> code = state_->poll();
  if (code) Family::instance().remove(state_);
  return code;
}

std::exception_ptr Process::exception() const {
  exitcode();
  std::lock_guard lock(state_->mutex);
  return state_->exception;
}

void Process::terminate() {
  state_->check_open();
  state_->check_own("terminate");
  if (!state_->started_child()) throw std::logic_error("can only terminate a started process");
  state_->send_signal(SIGTERM);
}

void Process::kill() {
  state_->check_open();
  state_->check_own("kill");
  if (!state_->started_child()) throw std::logic_error("can only kill a started process");
  state_->send_signal(SIGKILL);
}

void Process::close() {
  state_->check_own("close");
  if (state_->started_child() && !state_->poll()) {
    throw std::logic_error(
        "Cannot close a process while it is still running. You should first call join() or "
        "terminate().");
  }
  Family::instance().remove(state_);
  std::lock_guard lock(state_->mutex);
  if (state_->phase == Phase::kStarting) throw std::logic_error("the process is being started");
  state_->phase = Phase::kClosed;
  state_->child.reset();
  state_->call.reset();
}

std::optional<int> Process::pid() const {
  state_->check_open();
  if (state_->role == Role::kSelf) return os::current_pid();
  std::lock_guard lock(state_->mutex);
  return state_->phase == Phase::kStarted ? std::optional<int>(state_->pid) : std::nullopt;
}

int Process::sentinel() const {
  state_->check_open();
  if (state_->role == Role::kParent) return state_->parent_pidfd.get();
  std::shared_ptr<launch::Child> child = state_->started_child();
  if (!child) throw std::invalid_argument("process not started");
  return child->sentinel();
}

std::string Process::name() const {
  std::lock_guard lock(state_->mutex);
  return state_->name;
}

void Process::set_name(std::string name) {
  std::lock_guard lock(state_->mutex);
  state_->name = std::move(name);
}

bool Process::daemon() const {
  std::lock_guard lock(state_->mutex);
  return state_->daemon;
}

void Process::set_daemon(bool daemon) {
  std::lock_guard lock(state_->mutex);
  if (state_->phase != Phase::kInitial) throw std::logic_error("process has already started");
  state_->daemon = daemon;
}

std::ostream& operator<<(std::ostream& out, const Process& process) {
  return out << process.state_->show();
}

Process current_process() { return Process(Family::instance().self()); }

std::optional<Process> parent_process() {
  std::shared_ptr<ProcessState> parent = Family::instance().parent();
  if (!parent) return std::nullopt;
  return Process(std::move(parent));
}

std::vector<Process> active_children() {
  std::vector<Process> handles;
  for (auto& child : Family::instance().running()) handles.push_back(Process(std::move(child)));
  return handles;
}

void end_idle() { launch::Session::instance().end_idle(); }

}  // namespace procession
