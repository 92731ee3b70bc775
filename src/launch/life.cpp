// SPDX-License-Identifier: Apache-2.0
#include "launch/life.hpp"

#include <exception>
#include <optional>

#include "launch/zygote_server.hpp"
#include "os/lifeline.hpp"
#include "os/process.hpp"
#include "os/signals.hpp"
#include "shm/commons.hpp"

namespace procession::launch {

namespace {

// Long enough for a child to see parent_process().sentinel and tell somebody; "no process outlives
// its parent by more than a moment".
constexpr int kGraceMs = 500;

void take_output(const Start& start) {
  if (start.output.valid()) os::replace_fd(start.output.get(), 1);
  if (start.error_output.valid()) os::replace_fd(start.error_output.get(), 2);
}

// What waits for a start would keep open what the parent's output goes to.
void let_go_of_output() {
  os::Fd null = os::open_null();
  os::replace_fd(null.get(), 1);
  os::replace_fd(null.get(), 2);
}

// Waits for kStart or kServe; nothing if the parent is gone.
std::optional<Kind> receive_start(const os::Fd& socket, Start& start) {
  channel::Message message;
  os::Received received = os::Received::kInterrupted;
  while (received == os::Received::kInterrupted) {
    received = channel::receive_message(socket, message, true);
  }
  if (received != os::Received::kPacket) return std::nullopt;
  auto kind = static_cast<Kind>(message.kind);
  if (kind != kStart && kind != kServe) return std::nullopt;
  start = decode_start(std::move(message));
  return kind;
}

[[noreturn]] void live_as_zygote(os::Fd socket, Start start, Entry& entry) {
  entry.configure(std::move(start));
  let_go_of_output();
  serve_zygote(std::move(socket), entry);
  os::exit_now(0);
}

}  // namespace

void ToParent::report(const channel::Payload& failure) const {
  channel::send_message(socket_, kFailure, failure);
}

void follow_parent(const os::Fd& socket) { os::arm_lifeline(socket, kGraceMs); }

Rehearsal::Rehearsal(const channel::Payload& payload) {
  auto [ours, theirs] = os::packet_pair();
  os::Surroundings surroundings = os::current_surroundings();
  send_start(ours, {"rehearsal", payload, {}, surroundings, ours.get(), false});
  channel::Message message;
  channel::receive_message(theirs, message, false);
  channel::PayloadReader body(std::move(message.payload));
  record_.assign(body.bytes().begin(), body.bytes().end());
}

Start Rehearsal::start() const {
  channel::Message message;
  message.kind = kStart;
  message.payload.inline_bytes = record_;
  for (int i = 0; i < 3; ++i) message.fds.emplace_back();
  Start start = decode_start(std::move(message));
  os::apply(start.surroundings);
  return start;
}

void live(os::Fd socket, Entry& entry) {
  Start start;
  ToParent to_parent(socket);
  std::optional<Kind> kind;
  bool new_env = false;
  try {
    follow_parent(socket);
    os::restore_interrupt();
    kind = receive_start(socket, start);
    if (!kind) os::exit_now(0);
    take_output(start);
    shm::Commons::adopt(std::move(start.commons), std::move(start.arena));
    new_env = os::apply(start.surroundings);
    start.output.reset();
    start.error_output.reset();
  } catch (const std::exception& error) {
    entry.refuse(start, error.what(), to_parent);
    os::exit_now(1);
  }
  if (kind == kServe) live_as_zygote(std::move(socket), std::move(start), entry);
  os::exit_now(entry.run(std::move(start), new_env, to_parent));
}

}  // namespace procession::launch
