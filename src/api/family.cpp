// SPDX-License-Identifier: Apache-2.0
#include "api/family.hpp"

#include <csignal>
#include <cstdlib>
#include <stdexcept>

#include "launch/session.hpp"
#include "os/process.hpp"

namespace procession::api {

namespace {

constexpr std::chrono::seconds kDaemonGrace{2};

std::shared_ptr<ProcessState> main_process() {
  auto state = std::make_shared<ProcessState>();
  state->kind = "_MainProcess";
  state->name = "MainProcess";
  state->role = ProcessState::Role::kSelf;
  state->phase = ProcessState::Phase::kStarted;
  return state;
}

std::string joined(const std::vector<int>& identity) {
  std::string text;
  for (int number : identity) {
    if (!text.empty()) text += ':';
    text += std::to_string(number);
  }
  return text;
}

}  // namespace

Family& Family::instance() {
  // Never destroyed: processes are started and dropped by static destructors, too.
  static auto* family = new Family;
  return *family;
}

Family::Family() : self_(main_process()) {
  launch::Session::instance();  // whose fork handlers are registered first: its locks come second
  os::at_fork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
              [] {
                instance().forget_children();
                instance().mutex_.unlock();
              });
}

// In a forked copy. Another thread of the parent may have held a child's lock: never destroyed.
// NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks)
void Family::forget_children() { static_cast<void>(new std::vector(std::exchange(children_, {}))); }

std::shared_ptr<ProcessState> Family::self() {
  std::lock_guard lock(mutex_);
  return self_;
}

std::shared_ptr<ProcessState> Family::parent() {
  std::lock_guard lock(mutex_);
  return parent_;
}

std::shared_ptr<ProcessState> Family::conceive(std::string kind) {
  auto state = std::make_shared<ProcessState>();
  std::lock_guard lock(mutex_);
  state->identity = self_->identity;
  state->identity.push_back(++last_child_);
  state->name = kind + "-" + joined(state->identity);
  state->kind = std::move(kind);
  state->creator = os::current_pid();
  std::lock_guard self_lock(self_->mutex);
  state->daemon = self_->daemon;
  return state;
}

void Family::add(std::shared_ptr<ProcessState> child) {
  running();
  std::lock_guard lock(mutex_);
  children_.push_back(std::move(child));
  if (!std::exchange(finishes_at_exit_, true)) std::atexit([] { instance().finish(); });
}

void Family::remove(const std::shared_ptr<ProcessState>& child) {
  std::lock_guard lock(mutex_);
  std::erase(children_, child);
}

std::vector<std::shared_ptr<ProcessState>> Family::running() {
  std::vector<std::shared_ptr<ProcessState>> children;
  {
    std::lock_guard lock(mutex_);
    children = children_;
  }
  std::erase_if(children, [](const auto& child) { return !child->poll(); });
  std::lock_guard lock(mutex_);
  for (const auto& ended : children) std::erase(children_, ended);
  return children_;
}

StartMethod Family::default_method() {
  std::lock_guard lock(mutex_);
  default_method_fixed_ = true;
  return default_method_;
}

StartMethod Family::peek_default_method() {
  std::lock_guard lock(mutex_);
  return default_method_;
}

void Family::set_default_method(StartMethod method, bool force) {
  std::lock_guard lock(mutex_);
  if (default_method_fixed_ && !force) throw std::logic_error("context has already been set");
  default_method_ = method;
  default_method_fixed_ = true;
}

void Family::become(Role role, os::Fd parent_pidfd) {
  auto self = main_process();
  self->kind = std::move(role.kind);
  self->name = std::move(role.name);
  self->identity = std::move(role.identity);
  self->daemon = role.daemon;
  self->creator = role.parent;
  self->pid = os::current_pid();
  auto parent = std::make_shared<ProcessState>();
  parent->kind = "_ParentProcess";
  parent->name = std::move(role.parent_name);
  parent->role = ProcessState::Role::kParent;
  parent->phase = ProcessState::Phase::kStarted;
  parent->pid = role.parent;
  parent->parent_pidfd = std::move(parent_pidfd);
  std::lock_guard lock(mutex_);
  self_ = std::move(self);
  parent_ = std::move(parent);
  last_child_ = 0;
  default_method_ = role.default_method;
  default_method_fixed_ = true;
}

void Family::before_finish(void (*handler)()) {
  std::lock_guard lock(mutex_);
  before_finish_.push_back(handler);
}

void Family::finish() {
  std::vector<void (*)()> handlers;
  {
    std::lock_guard lock(mutex_);
    handlers = before_finish_;
  }
  for (auto* handler : handlers) handler();
  auto is_daemon = [](const auto& child) {
    std::lock_guard lock(child->mutex);
    return child->daemon;
  };
  base::Deadline patience = base::Deadline::after(kDaemonGrace);
  for (auto children = running(); !children.empty(); children = running()) {
    for (const auto& child : children) {
      if (is_daemon(child)) child->send_signal(SIGTERM);
    }
    for (const auto& child : children) {
      if (is_daemon(child) && !child->wait_until(patience)) child->send_signal(SIGKILL);
      child->wait_until(base::Deadline::never());
    }
  }
  launch::Session::instance().end_idle();
}

}  // namespace procession::api
