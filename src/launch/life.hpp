// SPDX-License-Identifier: Apache-2.0
// launch/life: a child's side, from its first instruction to its exit. Runs in children only.
//
// A front door hands in an Entry: it alone knows what a payload means.
#pragma once

#include "launch/wire.hpp"

namespace procession::launch {

// A child's line to its parent.
class ToParent {
 public:
  explicit ToParent(const os::Fd& socket) noexcept : socket_(socket) {}

  // Tells the parent of a failure, in the front door's own words. Lost if the parent is gone.
  void report(const channel::Payload& failure) const;

 private:
  const os::Fd& socket_;
};

// What a front door does in its children and in its zygote.
class Entry {
 public:
  virtual ~Entry() = default;

  // Runs once in a zygote, before its first child, to do what every child would do at its start:
  // `start.payload` is the configuration that the Zygote was made with. Must not throw. The children
  // come back through after_fork, warm_up and run of this same entry.
  virtual void configure(Start start) { (void)start; }

  // Runs what `start` names, in its surroundings, and returns the exit code. Must not throw.
  // `new_env`: the environment differs from the one that this process began with.
  virtual int run(Start start, bool new_env, const ToParent& to_parent) = 0;

  // The surroundings could not be applied: says so, by `to_parent` and on stderr.
  virtual void refuse(const Start& start, const char* why, const ToParent& to_parent) = 0;

  // Around each fork of a zygote, as the front door's language asks for.
  virtual void before_fork() {}
  virtual void after_fork(bool in_child) { (void)in_child; }

  // Runs in a spare child ahead of its start, to touch what every start touches; not where the start is
  // there already.
  virtual void warm_up() {}

  // Runs in a copy of a zygote that then ends: all that a child does, from its fork to its exit, with a
  // start that does nothing. False if it can't: nothing is learnt from it then.
  virtual bool rehearse() { return false; }
};

// The life of a child that waits on `socket` for its kStart, runs it, and exits with its code; or of
// a zygote, which gets kServe instead and serves until its parent is gone. Exits with 0 if the
// parent goes before that.
[[noreturn]] void live(os::Fd socket, Entry& entry);

// A start that a zygote and its spare children give to themselves (configure, warm_up), to touch
// what every start touches: memory that is shared since the last fork is copied on first use.
class Rehearsal {
 public:
  explicit Rehearsal(const channel::Payload& payload);

  // As if it had just been received; its surroundings are applied.
  Start start() const;

 private:
  base::Bytes record_;  // the body of a kStart
};

// Makes this process, forked by `fork_child`, die after its parent.
void follow_parent(const os::Fd& socket);

}  // namespace procession::launch
