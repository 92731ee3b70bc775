// SPDX-License-Identifier: Apache-2.0
// api/family: what this process knows of itself, its parent and its children.
//
// One per process, like the launch session, and as that emptied of children after fork(3).
// Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/process_state.hpp"

namespace procession::api {

using detail::ProcessState;
using detail::StartMethod;

// Who a started child is, as its parent tells it.
struct Role {
  std::string kind;
  std::string name;
  std::vector<int> identity;
  bool daemon = false;
  pid_t parent = 0;
  std::string parent_name;
  StartMethod default_method = StartMethod::kForkserver;
};

class Family {
 public:
  static Family& instance();

  std::shared_ptr<ProcessState> self();
  std::shared_ptr<ProcessState> parent();  // null if procession didn't start this process

  // A new child, not yet started, with its default name.
  std::shared_ptr<ProcessState> conceive(std::string kind);

  // A started one.
  void add(std::shared_ptr<ProcessState> child);

  // One that has ended.
  void remove(const std::shared_ptr<ProcessState>& child);

  // Those that have not ended, after reaping those that have.
  std::vector<std::shared_ptr<ProcessState>> running();

  StartMethod default_method();  // fixed from then on
  StartMethod peek_default_method();
  void set_default_method(StartMethod method, bool force);

  // In a child, before its target runs.
  void become(Role role, os::Fd parent_pidfd);

  // Has `handler` called at the beginning of `finish`. It stands until the process's end.
  void before_finish(void (*handler)());

  // The end of this process: daemon children are terminated, killed if they take longer than two
  // seconds, others are waited for; then the zygote is stopped.
  void finish();

 private:
  Family();

  void forget_children();

  std::mutex mutex_;
  std::shared_ptr<ProcessState> self_;
  std::shared_ptr<ProcessState> parent_;
  std::vector<std::shared_ptr<ProcessState>> children_;
  int last_child_ = 0;
  StartMethod default_method_ = StartMethod::kForkserver;
  bool default_method_fixed_ = false;
  bool finishes_at_exit_ = false;
  std::vector<void (*)()> before_finish_;
};

}  // namespace procession::api
