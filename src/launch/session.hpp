// SPDX-License-Identifier: Apache-2.0
// launch/session: what a process knows of its children; the one singleton.
//
// A session belongs to one process. fork(3), by procession or by anybody else in the program, leaves
// the child with an empty session: the descriptors of its parent's children are closed there, so
// that each of them still learns of its parent's death. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "launch/child.hpp"
#include "os/fd.hpp"

namespace procession::launch {

class Zygote;

// A child that no front door holds yet.
struct Spawned {
  pid_t pid = 0;
  os::Fd pidfd;
  os::Fd socket;
};

class Session {
 public:
  static Session& instance();

  // Takes note of a new child, so that a fork closes its descriptors in the copy.
  Child adopt(pid_t pid, os::Fd pidfd, os::Fd socket);

  // Keeps the state of a child that its front door dropped, until it has ended.
  void abandon(std::shared_ptr<ChildState> child);

  // Reaps abandoned children that have ended. Called at every start.
  void reap_abandoned();

  // A pidfd of this process, which its children watch.
  int own_pidfd();

  // This process's zygote if it is the one of `key`, or null. A key names all that a zygote is
  // configured by: a program that changes its mind gets another zygote.
  std::shared_ptr<Zygote> zygote(const std::vector<std::string>& key);

  // The same, with `made` in the place of one that there is not or that has another key.
  std::shared_ptr<Zygote> zygote(const std::vector<std::string>& key, std::shared_ptr<Zygote> made);

  // Keeps a child that was executed ahead, as `key` says, for the next start.
  void add_spare(const std::string& key, Spawned spare);

  // A child that was executed ahead for `key`. Those for other keys are ended.
  std::optional<Spawned> take_spare(const std::string& key);

  // How many more spares there should be: none before a program's second spawn.
  int missing_spares();

  // Ends the processes that only wait for a start, the zygote and all spares, and reaps them. The
  // next start makes new ones.
  void end_idle();

 private:
  Session();

  void before_fork();
  void after_fork(bool in_child);

  std::mutex mutex_;  // taken after a zygote's, never before
  std::vector<std::weak_ptr<ChildState>> children_;
  std::vector<std::shared_ptr<ChildState>> abandoned_;
  std::shared_ptr<Zygote> zygote_;
  std::vector<std::string> zygote_key_;
  std::shared_ptr<Zygote> forking_zygote_;  // locked from before_fork to after_fork
  std::vector<Spawned> spares_;
  std::string spares_key_;
  int spawns_ = 0;
  os::Fd own_pidfd_;
};

}  // namespace procession::launch
