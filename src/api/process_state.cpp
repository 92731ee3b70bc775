// SPDX-License-Identifier: Apache-2.0
#include "api/process_state.hpp"

#include <stdexcept>

#include "api/failure.hpp"
#include "os/poll.hpp"
#include "os/process.hpp"
#include "os/signals.hpp"
#include "shm/commons.hpp"

namespace procession::detail {

namespace {

std::string show_exitcode(int code) {
  if (code >= 0) return std::to_string(code);
  std::string text = "-";
  return text += os::signal_name(-code);
}

}  // namespace

void ProcessState::check_own(const char* what) const {
  if (creator != os::current_pid()) {
    throw std::logic_error(std::string("can only ") + what + " a child process");
  }
}

void ProcessState::check_open() const {
  std::lock_guard lock(mutex);
  if (phase == Phase::kClosed) throw std::invalid_argument("process object is closed");
}

std::shared_ptr<launch::Child> ProcessState::started_child() const {
  std::lock_guard lock(mutex);
  return child;
}

// Once it has ended: how, and what it said of it.
void ProcessState::settle(launch::Child& ended) {
  std::vector<std::shared_ptr<const void>> no_longer_held;  // let go of without the mutex
  {
    std::lock_guard lock(mutex);
    if (exitcode) return;
    exitcode = ended.try_wait().value_or(os::kStatusLost).value();
    if (auto failure = ended.take_failure()) exception = api::decode_failure(std::move(*failure));
    no_longer_held.swap(held);
  }
  if (shm::Commons::exists()) shm::Commons::instance().sweep();
}

std::optional<int> ProcessState::poll() {
  std::shared_ptr<launch::Child> running = started_child();
  if (running && running->try_wait()) settle(*running);
  std::lock_guard lock(mutex);
  return exitcode;
}

bool ProcessState::wait_until(base::Deadline deadline) {
  std::shared_ptr<launch::Child> running = started_child();
  base::Waited waited = base::Waited::kInterrupted;
  while (waited == base::Waited::kInterrupted) {
    waited =
        running ? running->wait_until(deadline) : os::wait_readable(parent_pidfd.get(), deadline);
  }
  if (waited != base::Waited::kReady) return false;
  if (running) settle(*running);
  return true;
}

void ProcessState::send_signal(int signal) {
  if (std::shared_ptr<launch::Child> running = started_child()) running->send_signal(signal);
}

std::string ProcessState::show() {
  const bool own = creator == os::current_pid();
  std::optional<int> code = own ? poll() : std::nullopt;
  std::lock_guard lock(mutex);
  std::string text = "<";
  text.append(kind).append(" name='").append(name).append("'");
  if (phase == Phase::kStarted && role == Role::kChild) text += " pid=" + std::to_string(pid);
  text += " parent=" + (creator ? std::to_string(*creator) : "None");
  if (role == Role::kSelf) {
    text += " started";
  } else if (phase == Phase::kClosed) {
    text += " closed";
  } else if (!own) {
    text += " unknown";
  } else if (phase != Phase::kStarted) {
    text += " initial";
  } else {
    text += code ? " stopped" : " started";
  }
  if (code && phase == Phase::kStarted) text.append(" exitcode=").append(show_exitcode(*code));
  if (daemon) text += " daemon";
  return text + ">";
}

}  // namespace procession::detail
