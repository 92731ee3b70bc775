// SPDX-License-Identifier: Apache-2.0
#include "launch/fork.hpp"

#include <cstdio>

#include "base/error.hpp"
#include "launch/life.hpp"
#include "launch/session.hpp"
#include "launch/spawn.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

namespace procession::launch {

Forked fork_child(const std::function<pid_t()>& fork) {
  Session& session = Session::instance();
  session.reap_abandoned();
  auto [ours, theirs] = os::packet_pair();
  Forked forked;
  forked.parent_pidfd = os::duplicate(session.own_pidfd());
  os::Fd reserved = os::open_null();  // so that there is a descriptor left for the pidfd
  pid_t pid = fork();
  reserved.reset();
  if (pid != 0) {
    forked.parent_pidfd.reset();
    forked.child = session.adopt(pid, pidfd_or_end(pid), std::move(ours));
    return forked;
  }
  try {
    forked.socket = std::move(theirs);
    ours.reset();
    follow_parent(forked.socket);
  } catch (const base::OsError& error) {  // not up the parent's stack
    std::fprintf(stderr, "procession: a forked process can't follow its parent: %s\n",
                 error.what());
    os::exit_now(1);
  }
  return forked;
}

}  // namespace procession::launch
