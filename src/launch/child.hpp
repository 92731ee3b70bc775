// SPDX-License-Identifier: Apache-2.0
// launch/child: a parent's hold on one process that it started.
//
// Owned by the parent's front door. Thread-safe. Not for use after fork: the forked process's copies
// are emptied by the session, since they are not its children. A Child that is dropped while its
// process runs leaves the process alone; the session reaps it later.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "base/deadline.hpp"
#include "channel/payload.hpp"
#include "os/fd.hpp"
#include "os/pidfd.hpp"

namespace procession::launch {

// The descriptors of a child, shared by the Child and the session.
struct ChildState {
  std::mutex mutex;
  pid_t pid = 0;
  os::Fd pidfd;
  os::Fd socket;
  std::optional<os::ExitStatus> status;
  std::optional<channel::Payload> failure;

  // Reaps if it has ended, then collects what the child said of its failure. Holds the mutex.
  std::optional<os::ExitStatus> try_wait();

 private:
  void collect_failure();
};

class Child {
 public:
  explicit Child(std::shared_ptr<ChildState> state) noexcept : state_(std::move(state)) {}
  Child(Child&&) noexcept = default;
  Child& operator=(Child&&) noexcept = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  pid_t pid() const noexcept { return state_->pid; }

  // A descriptor that becomes readable when the process has ended; valid as long as the Child.
  int sentinel() const noexcept { return state_->pidfd.get(); }

  // How it ended, or nothing while it runs.
  std::optional<os::ExitStatus> try_wait() { return state_->try_wait(); }

  // kReady: it has ended, and try_wait says how.
  base::Waited wait_until(base::Deadline deadline);

  // False if it has ended.
  bool send_signal(int signal);

  // What the front door in the child reported before it ended, once. Only after the end.
  std::optional<channel::Payload> take_failure();

 private:
  std::shared_ptr<ChildState> state_;
};

}  // namespace procession::launch
