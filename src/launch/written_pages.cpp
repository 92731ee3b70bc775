// SPDX-License-Identifier: Apache-2.0
#include "launch/written_pages.hpp"

#include <chrono>
#include <cstring>
#include <exception>
#include <span>
#include <utility>
#include <vector>

#include "base/deadline.hpp"
#include "base/error.hpp"
#include "os/clone.hpp"
#include "os/pages.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"
#include "os/process.hpp"

namespace procession::launch {

namespace {

constexpr int kForksBefore = 5;
constexpr std::chrono::seconds kPatience{2};

// In the copy: nothing may get out of here, for that would be a second zygote.
[[noreturn]] void rehearse(const os::Fd& zygote, Entry& entry) noexcept {
  try {
    follow_parent(zygote);
    entry.after_fork(true);
    if (!entry.rehearse()) os::exit_now(0);
    const std::vector<os::PageRange> pages = os::own_pages();
    channel::PayloadWriter writer;
    writer.append(std::as_bytes(std::span(pages)));
    channel::send_message(zygote, 0, writer.take());
  } catch (const std::exception&) {  // then the zygote learns nothing
  }
  os::exit_now(0);
}

pid_t fork_rehearsal(os::Fd& zygotes_end, const os::Fd& copys_end, Entry& entry) {
  pid_t pid = -1;
  entry.before_fork();
  try {
    pid = os::fork_process();
  } catch (const base::OsError&) {  // another time is none: it's only a convenience
  }
  if (pid == 0) {
    zygotes_end.reset();
    rehearse(copys_end, entry);
  }
  entry.after_fork(false);
  return pid;
}

// What a copy that rehearses a start has written; nothing if it was killed, or takes too long.
std::vector<os::PageRange> rehearsed(Entry& entry) {
  auto [ours, theirs] = os::packet_pair();
  pid_t pid = fork_rehearsal(ours, theirs, entry);
  if (pid < 0) return {};
  theirs.reset();
  base::Deadline deadline = base::Deadline::after(kPatience);
  base::Waited waited = base::Waited::kInterrupted;
  while (waited == base::Waited::kInterrupted) waited = os::wait_readable(ours.get(), deadline);
  channel::Message message;
  channel::receive_message(ours, message, false);
  os::end_child(pid);
  channel::PayloadReader body(std::move(message.payload));
  std::vector<os::PageRange> pages(body.bytes().size() / sizeof(os::PageRange));
  if (!pages.empty()) std::memcpy(pages.data(), body.bytes().data(), body.bytes().size());
  return pages;
}

}  // namespace

void WrittenPages::before_fork(Entry& entry) noexcept {
  if (forks_++ != kForksBefore) return;
  try {
    learn(entry);
  } catch (const std::exception&) {  // it is out of memory, or of descriptors
  }
}

void WrittenPages::learn(Entry& entry) {
  os::Fd pinned = os::open_pinning();
  if (!pinned.valid()) return;
  std::vector<os::PageRange> pages = rehearsed(entry);
  if (pages.empty()) return;
  if (os::pin(pinned, os::pack_around(pages))) pinned_ = std::move(pinned);
}

}  // namespace procession::launch
