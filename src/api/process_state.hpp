// SPDX-License-Identifier: Apache-2.0
// api/process_state: what the handles of one process share.
//
// Owned by the handles and, while it runs, by the family of the process that started it. After a
// fork the copies in the child are of no use there: `creator` tells, and is looked at first.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.hpp"
#include "launch/child.hpp"
#include "procession/context.hpp"
#include "procession/detail/call.hpp"

namespace procession::detail {

struct ProcessState {
  enum class Role { kChild, kSelf, kParent };
  enum class Phase { kInitial, kStarting, kStarted, kClosed };

  // Fixed before anybody else knows of it.
  std::string kind;           // "SpawnProcess": Python's name of the class
  std::vector<int> identity;  // 2:1 is the first process that the second one started
  std::optional<pid_t> creator;
  Context context;

  mutable std::mutex mutex;
  Role role = Role::kChild;
  Phase phase = Phase::kInitial;
  std::string name;
  bool daemon = false;
  pid_t pid = 0;
  std::unique_ptr<Call> call;
  std::shared_ptr<launch::Child> child;
  os::Fd parent_pidfd;                            // of kParent
  std::vector<std::shared_ptr<const void>> held;  // what it was given, until it has ended
  std::optional<int> exitcode;
  std::exception_ptr exception;

  // std::logic_error "<what> a child process" unless this process made it, or once it is closed.
  void check_own(const char* what) const;
  void check_open() const;

  // The child, or null if it was not started.
  std::shared_ptr<launch::Child> started_child() const;

  // The exit code, reaping it if it has ended.
  std::optional<int> poll();

  // False if the deadline passed.
  bool wait_until(base::Deadline deadline);

  void send_signal(int signal);

  std::string show();

 private:
  void settle(launch::Child& child);
};

}  // namespace procession::detail
