// SPDX-License-Identifier: Apache-2.0
#include "launch/session.hpp"

#include <algorithm>

#include "launch/spawn.hpp"
#include "launch/zygote_client.hpp"
#include "os/process.hpp"

namespace procession::launch {

Session& Session::instance() {
  // Never destroyed: children may be dropped by static destructors of the program.
  static auto* session = new Session;
  return *session;
}

Session::Session() {
  os::at_fork([] { instance().before_fork(); }, [] { instance().after_fork(false); },
              [] { instance().after_fork(true); });
}

Child Session::adopt(pid_t pid, os::Fd pidfd, os::Fd socket) {
  auto state = std::make_shared<ChildState>();
  state->pid = pid;
  state->pidfd = std::move(pidfd);
  state->socket = std::move(socket);
  std::lock_guard lock(mutex_);
  std::erase_if(children_, [](const auto& child) { return child.expired(); });
  children_.push_back(state);
  return Child(std::move(state));
}

void Session::abandon(std::shared_ptr<ChildState> child) {
  if (!child->pidfd.valid()) return;  // emptied by a fork: not ours
  std::lock_guard lock(mutex_);
  abandoned_.push_back(std::move(child));
}

void Session::reap_abandoned() {
  std::lock_guard lock(mutex_);
  std::erase_if(abandoned_, [](const auto& child) { return child->try_wait().has_value(); });
}

int Session::own_pidfd() {
  std::lock_guard lock(mutex_);
  if (!own_pidfd_.valid()) own_pidfd_ = os::open_pidfd(os::current_pid());
  return own_pidfd_.get();
}

std::shared_ptr<Zygote> Session::zygote(const std::vector<std::string>& key) {
  std::lock_guard lock(mutex_);
  return zygote_key_ == key ? zygote_ : nullptr;
}

std::shared_ptr<Zygote> Session::zygote(const std::vector<std::string>& key,
                                        std::shared_ptr<Zygote> made) {
  std::lock_guard lock(mutex_);
  if (!zygote_ || zygote_key_ != key) {
    std::swap(zygote_, made);  // the old one ends when its last start has
    zygote_key_ = key;
  }
  return zygote_;
}

void Session::add_spare(const std::string& key, Spawned spare) {
  std::lock_guard lock(mutex_);
  spares_key_ = key;
  spares_.push_back(std::move(spare));
}

std::optional<Spawned> Session::take_spare(const std::string& key) {
  std::vector<Spawned> outdated;
  std::optional<Spawned> spare;
  {
    std::lock_guard lock(mutex_);
    ++spawns_;
    if (spares_key_ != key) outdated = std::exchange(spares_, {});
    if (!spares_.empty()) {
      spare = std::move(spares_.front());  // the one that has had the most time
      spares_.erase(spares_.begin());
    }
  }
  for (const Spawned& child : outdated) discard(child.pidfd);
  return spare;
}

int Session::missing_spares() {
  constexpr int kSpares = 2;
  std::lock_guard lock(mutex_);
  return spawns_ < 2 ? 0 : std::max(0, kSpares - static_cast<int>(spares_.size()));
}

void Session::end_idle() {
  std::shared_ptr<Zygote> zygote;
  std::vector<Spawned> spares;
  {
    std::lock_guard lock(mutex_);
    zygote = std::move(zygote_);
    spares = std::exchange(spares_, {});
    spawns_ = 0;
  }
  for (const Spawned& spare : spares) discard(spare.pidfd);
  if (zygote) zygote->stop();
}

void Session::before_fork() {
  // The zygote's mutex comes before the session's, as in Zygote::start.
  while (true) {
    std::shared_ptr<Zygote> zygote;
    {
      std::lock_guard lock(mutex_);
      zygote = zygote_;
    }
    if (zygote) zygote->lock_for_fork();
    mutex_.lock();
    if (zygote == zygote_) {
      forking_zygote_ = std::move(zygote);
      return;
    }
    mutex_.unlock();
    if (zygote) zygote->unlock_after_fork(false);
  }
}

void Session::after_fork(bool in_child) {
  if (forking_zygote_) forking_zygote_->unlock_after_fork(in_child);
  forking_zygote_.reset();
  std::shared_ptr<Zygote> zygote;  // the copy of the parent's: destroyed after the unlock
  if (in_child) {
    for (const auto& weak : children_) {
      if (auto child = weak.lock()) {
        child->pidfd.reset();
        child->socket.reset();
      }
    }
    children_.clear();
    abandoned_.clear();
    zygote = std::move(zygote_);
    spares_.clear();
    spawns_ = 0;
    own_pidfd_.reset();
  }
  mutex_.unlock();
}

}  // namespace procession::launch
