// SPDX-License-Identifier: Apache-2.0
// launch/wire: the messages between a parent, its zygote and its children.
//
//   parent ── kServe ──► zygote            its configuration, with what kStart has
//   parent ── kMake ───► zygote            one descriptor: the child's end of a new socket
//   zygote, child ── kHello ──► parent     on that socket: the child exists, this is its pid
//   zygote ── kRefused ──► parent          on that socket: there is no child, this is why
//   parent ── kStart ──► child             what to run, and the surroundings of this moment
//   child ── kFailure ──► parent           what the front door says of a failure, before the exit
//
// The zygote and the child both say hello: whichever of them is killed, the parent learns the pid.
// End-of-file before kStart ends the child; end-of-file before a hello means that there is none.
#pragma once

#include <string>
#include <vector>

#include "channel/message.hpp"
#include "os/surroundings.hpp"

namespace procession::launch {

enum Kind : std::uint32_t { kServe = 1, kMake, kHello, kRefused, kStart, kFailure };

// Everything that a child gets to know, whichever way it is started.
struct Start {
  std::string name;  // of the process, for messages
  pid_t parent = 0;  // pid of the process that started it
  os::Surroundings surroundings;
  channel::Payload payload;  // the front door's: what to run
  std::vector<os::Fd> fds;   // the front door's: named by their index in the payload
  os::Fd parent_pidfd;       // readable once the parent is gone
  os::Fd output;             // the parent's stdout and stderr; invalid if it has none
  os::Fd error_output;
  os::Fd commons;  // the session's memory, shm::Commons: its two; invalid in a rehearsal
  os::Fd arena;
};

// Sends `start` as kStart, or as `kind`, with `fds` (borrowed) as its descriptors, and this process's own name,
// surroundings, stdout and stderr of this moment. False if the child is gone.
struct StartView {
  const std::string& name;
  const channel::Payload& payload;
  const std::vector<int>& fds;
  const os::Surroundings& surroundings;
  int parent_pidfd;
  bool with_commons = true;
};
bool send_start(const os::Fd& socket, const StartView& start, Kind kind = kStart);
Start decode_start(channel::Message message);

bool send_hello(const os::Fd& socket, pid_t child);
pid_t decode_hello(const channel::Message& message);

// Why a zygote made no child. `needs_adoption`: it has threads by now, so a child can only be made
// as an orphan that its parent inherits (os::fork_orphan).
struct Refusal {
  int error_number = 0;
  bool needs_adoption = false;
};
bool send_refusal(const os::Fd& socket, const Refusal& refusal);
Refusal decode_refusal(const channel::Message& message);

bool send_make(const os::Fd& control, const os::Fd& child_end, bool as_orphan);
bool decode_make(const channel::Message& message);  // as_orphan

}  // namespace procession::launch
