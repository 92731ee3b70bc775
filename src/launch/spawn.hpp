// SPDX-License-Identifier: Apache-2.0
// launch/spawn: the "spawn" start method: the child is a freshly executed program.
#pragma once

#include <string>
#include <vector>

#include "channel/payload.hpp"
#include "launch/child.hpp"
#include "launch/session.hpp"
#include "launch/wire.hpp"

namespace procession::launch {

// Which program becomes a child, or a zygote. It finds its socket as os::kInheritedSocket.
struct Executable {
  std::string path;
  std::vector<std::string> argv;
};

// What a front door wants to run in a new process. `fds` are borrowed: copies travel.
struct Order {
  std::string name;
  const channel::Payload& payload;
  std::vector<int> fds;
};

// Executes the program and sends it its order. OsError if there is no such program, no process or no
// descriptor to be had; then nothing is left.
// `kind` is kStart for a child that runs the order, kServe for a zygote that is configured by it.
Spawned spawn(const Executable& executable, const Order& order, Kind kind);

// The same, as a Child of the session, and by a program that was executed ahead if there is one: it
// has just begun, in the same environment, and knows nothing yet.
Child spawn_child(const Executable& executable, const Order& order);

// A pidfd of a new child of this process. If there is none to be had, the child is ended and reaped.
os::Fd pidfd_or_end(pid_t child);

// Kills a child that nobody has heard of yet, and reaps it.
os::ExitStatus discard(const os::Fd& pidfd);

}  // namespace procession::launch
