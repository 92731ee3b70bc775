// SPDX-License-Identifier: Apache-2.0
#include "launch/zygote_server.hpp"

#include "base/error.hpp"
#include "launch/written_pages.hpp"
#include "os/clone.hpp"
#include "os/lifeline.hpp"
#include "os/poll.hpp"
#include "os/process.hpp"
#include "os/signals.hpp"
#include "shm/commons.hpp"

namespace procession::launch {

namespace {

[[noreturn]] void become_child(os::Fd control, os::Fd child_end, WrittenPages& pages,
                               Entry& entry) {
  control.reset();
  pages.after_fork_in_child();
  send_hello(child_end, os::current_pid());
  entry.after_fork(true);
  const bool awaited =
      os::wait_readable(child_end.get(), base::Deadline::now()) == base::Waited::kReady;
  if (!awaited) entry.warm_up();
  live(std::move(child_end), entry);
}

void make_child(os::Fd& control, os::Fd child_end, bool as_orphan, WrittenPages& pages,
                Entry& entry) {
  if (!as_orphan && !os::can_clone_sibling()) {
    send_refusal(child_end, {0, true});
    return;
  }
  pid_t pid = -1;
  if (!as_orphan) pages.before_fork(entry);
  entry.before_fork();
  if (!as_orphan) shm::Commons::before_clone();
  try {
    pid = as_orphan ? os::fork_orphan() : os::clone_sibling();
  } catch (const base::OsError& error) {
    send_refusal(child_end, {error.error_number(), false});
  }
  if (!as_orphan) shm::Commons::after_clone(pid == 0);
  if (pid == 0) become_child(std::move(control), std::move(child_end), pages, entry);
  entry.after_fork(false);
  if (pid > 0 && !as_orphan) send_hello(child_end, pid);
}

}  // namespace

void serve_zygote(os::Fd control, Entry& entry) {
  os::disarm_lifeline(control);
  os::ignore_interrupt();
  WrittenPages pages;
  channel::Message message;
  while (true) {
    os::Received received = channel::receive_message(control, message, true);
    if (received == os::Received::kInterrupted) continue;
    if (received != os::Received::kPacket || message.kind != kMake || message.fds.empty()) return;
    make_child(control, std::move(message.fds.front()), decode_make(message), pages, entry);
  }
}

}  // namespace procession::launch
