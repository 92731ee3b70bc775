// SPDX-License-Identifier: Apache-2.0
#include "launch/spawn.hpp"

#include <csignal>

#include "base/error.hpp"
#include "launch/session.hpp"
#include "os/exec.hpp"
#include "os/poll.hpp"
#include "os/socket.hpp"

namespace procession::launch {

os::Fd pidfd_or_end(pid_t child) {
  try {
    return os::open_pidfd(child);
  } catch (...) {
    os::end_child(child);
    throw;
  }
}

os::ExitStatus discard(const os::Fd& pidfd) {
  os::send_signal(pidfd, SIGKILL);
  while (os::wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
  }
  return os::try_reap(pidfd).value_or(os::kStatusLost);
}

namespace {

// The program, with the environment that it is executed in. One that is executed ahead is silent: it
// would keep open what this process's output goes to.
Spawned execute(const Executable& executable, const os::Surroundings& surroundings,
                bool ahead = false) {
  auto [ours, theirs] = os::packet_pair();
  os::Fd reserved = os::open_null();  // so that there is a descriptor left for the pidfd
  Spawned child;
  child.pid = os::spawn_program(
      {executable.path, executable.argv, os::env_strings(surroundings), ahead}, theirs);
  reserved.reset();
  child.pidfd = pidfd_or_end(child.pid);
  child.socket = std::move(ours);
  return child;
}

// False if the child is gone.
bool send_order(const Spawned& child, const Order& order, const os::Surroundings& surroundings,
                Kind kind) {
  int own_pidfd = Session::instance().own_pidfd();
  try {
    return send_start(child.socket, {order.name, order.payload, order.fds, surroundings, own_pidfd},
                      kind);
  } catch (...) {
    discard(child.pidfd);
    throw;
  }
}

// What must be the same for a program that was executed ahead to serve.
std::string key_of(const Executable& executable, const os::Surroundings& surroundings) {
  std::string key = executable.path;
  for (const std::string& argument : executable.argv) key.append(1, '\0').append(argument);
  return key.append(1, '\0').append(surroundings.env);
}

// Executes the next children's programs while this one runs. Only a convenience: its failure is the
// next start's.
void refill_spares(const std::string& key, const Executable& executable,
                   const os::Surroundings& surroundings) {
  Session& session = Session::instance();
  try {
    for (int missing = session.missing_spares(); missing > 0; --missing) {
      session.add_spare(key, execute(executable, surroundings, true));
    }
  } catch (const base::OsError&) {
  }
}

}  // namespace

Spawned spawn(const Executable& executable, const Order& order, Kind kind) {
  os::Surroundings surroundings = os::current_surroundings();
  Spawned child = execute(executable, surroundings);
  send_order(child, order, surroundings, kind);  // one that is gone tells so by its exit code
  return child;
}

Child spawn_child(const Executable& executable, const Order& order) {
  Session& session = Session::instance();
  session.reap_abandoned();
  os::Surroundings surroundings = os::current_surroundings();
  std::string key = key_of(executable, surroundings);
  std::optional<Spawned> child = session.take_spare(key);
  while (child && !send_order(*child, order, surroundings, kStart)) {
    discard(child->pidfd);  // somebody killed it before it was needed
    child = session.take_spare(key);
  }
  if (!child) {
    child = execute(executable, surroundings);
    send_order(*child, order, surroundings, kStart);
  }
  refill_spares(key, executable, surroundings);
  return session.adopt(child->pid, std::move(child->pidfd), std::move(child->socket));
}

}  // namespace procession::launch
