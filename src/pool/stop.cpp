// SPDX-License-Identifier: Apache-2.0
// pool/stop: what happens at a time: tasks that have run too long, workers that are stopped with all
// that came of them, and workers that have idled long enough.
#include <algorithm>
#include <utility>

#include "os/poll.hpp"
#include "pool/pool.hpp"

namespace procession::pool {

Pool::~Pool() {
  for (const Doomed& doomed : doomed_) os::try_signal(doomed.process.pidfd, os::kKill);
}

// The thread at the back may sleep for longer than that.
void Pool::act_by(Clock::time_point point) noexcept {
  if (point >= act_at_.load(std::memory_order_relaxed)) return;
  act_at_.store(point, std::memory_order_relaxed);
  ring_back();
}

void Pool::keep_time() {
  Clock::time_point now = Clock::now();
  if (now < act_at_.load(std::memory_order_relaxed)) return;
  Clock::time_point next = kNever;
  for (std::uint32_t i = 0; i < present_; ++i) {
    if (places_[i].pidfd.valid()) next = std::min(next, keep_time_of(places_[i], now));
  }
  for (const Doomed& doomed : doomed_) next = std::min(next, std::max(now, doomed.kill_at));
  act_at_.store(next, std::memory_order_relaxed);
}

// Does what is due, and gives the time at which the next thing is.
Pool::Clock::time_point Pool::keep_time_of(Place& place, Clock::time_point now) {
  if (place.act_at <= now) {
    if (place.stopped) {
      kill_worker(place);
    } else {
      std::uint32_t slot = place.assigned.front_slot();
      Outcome outcome;
      outcome.kind = OutcomeKind::kTimedOut;
      outcome.more = more_of(Death{place.pid, {}, {}, {}, tasks_[slot].timeout});
      stop_worker(place);
      end(slot, std::move(outcome));
    }
  }
  bool idles = place.state == State::kThere && place.ready && place.assigned.empty();
  if (!idles || options_.idle_timeout == kForever) return place.act_at;
  if (place.idle_since + options_.idle_timeout > now) {
    return place.idle_since + options_.idle_timeout;
  }
  send_stop(place);
  return kNever;
}

// Stops the worker that has begun a task; takes the task back from one that hasn't. False if the task
// has ended meanwhile.
bool Pool::stop_running(std::uint32_t slot) {
  TaskId id = id_of(slot);
  Place& place = place_of(tasks_[slot]);
  unfold(place);
  revoke(place);
  if (!tasks_[slot].assigned) return true;
  // All that it had begun before has ended, and is on its way.
  take_results(index_of(place));
  if (!find(id) || place.corrupted) return false;
  if (!tasks_[slot].assigned) return true;  // taken back meanwhile, from one that is to be replaced
  if (place.assigned.front_slot() != slot) return false;
  if (place.assigned.size() > 1) return false;  // what is behind it couldn't be taken back
  stop_worker(place);
  return true;
}

// `place` has one task, which is to end otherwise. Its memory stays until the worker is gone.
void Pool::stop_worker(Place& place) {
  Task& task = tasks_[place.assigned.front_slot()];
  place.orphans = std::exchange(task.blocks, {});
  if (task.spilled)
    std::rotate(place.orphans.begin(), place.orphans.begin() + 1, place.orphans.end());
  place.assigned.clear();
  place.expected = 0;
  place.state = State::kEnding;
  place.owes_stop = false;
  place.timed = false;
  place.stopped = true;
  place.act_at = Clock::now() + kGrace;
  for (os::Descendant& each : os::signal_tree(place.pid, place.pidfd, os::kTerminate)) {
    back_set_.add(each.pidfd.get(), kNoPlace);
    doomed_.push_back({std::move(each), place.act_at});
  }
  act_by(place.act_at);
}

void Pool::kill_worker(Place& place) {
  os::signal_tree(place.pid, place.pidfd, os::kKill);
  place.act_at = kNever;
}

// Lets go of those that have ended, and kills those whose time has come.
void Pool::look_after_doomed() {
  Clock::time_point now = Clock::now();
  auto is_over = [&](const Doomed& doomed) {
    const os::Fd& pidfd = doomed.process.pidfd;
    bool gone = os::wait_readable(pidfd.get(), base::Deadline::now()) == base::Waited::kReady;
    if (!gone && now < doomed.kill_at) return false;
    if (!gone) os::signal_tree(doomed.process.pid, pidfd, os::kKill);
    back_set_.remove(pidfd.get());
    return true;
  };
  std::erase_if(doomed_, is_over);
}

// What a stopped worker was given and hasn't kept, which is nobody else's before its end.
void Pool::release_orphans(Place& place) {
  for (shm::Block block : place.orphans) {
    if (block.size == 0) continue;
    try {
      arena_.hand_over(block, arena_.party());
      arena_.release(block.offset);
    } catch (const std::runtime_error&) {  // it kept it, and wasn't there to say so
    }
  }
  place.orphans.clear();
}

// A worker ends after what it has begun, and another takes its place.
void Pool::retire(Place& place) {
  if (place.state != State::kThere) return;
  revoke(place);
  send_stop(place);
}

}  // namespace procession::pool
