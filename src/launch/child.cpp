// SPDX-License-Identifier: Apache-2.0
#include "launch/child.hpp"

#include <utility>

#include "launch/session.hpp"
#include "launch/wire.hpp"
#include "os/poll.hpp"

namespace procession::launch {

std::optional<os::ExitStatus> ChildState::try_wait() {
  std::lock_guard lock(mutex);
  if (status || !pidfd.valid()) return status;
  status = os::try_reap(pidfd);
  if (status) collect_failure();
  return status;
}

void ChildState::collect_failure() {
  channel::Message message;
  while (channel::receive_message(socket, message, false) == os::Received::kPacket) {
    if (message.kind == kFailure) failure = std::move(message.payload);
  }
  socket.reset();
}

Child::~Child() {
  if (state_ && !state_->try_wait()) Session::instance().abandon(std::move(state_));
}

base::Waited Child::wait_until(base::Deadline deadline) {
  if (try_wait()) return base::Waited::kReady;
  base::Waited waited = os::wait_readable(sentinel(), deadline);
  if (waited == base::Waited::kReady) try_wait();
  return waited;
}

bool Child::send_signal(int signal) {
  std::lock_guard lock(state_->mutex);
  if (state_->status || !state_->pidfd.valid()) return false;
  return os::send_signal(state_->pidfd, signal);
}

std::optional<channel::Payload> Child::take_failure() {
  std::lock_guard lock(state_->mutex);
  return std::exchange(state_->failure, std::nullopt);
}

}  // namespace procession::launch
