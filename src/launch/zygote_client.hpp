// SPDX-License-Identifier: Apache-2.0
// launch/zygote_client: the "forkserver" start method, seen from the parent.
//
// A zygote is a program that has done once what every child would do at its start, and then copies
// itself. It is owned by the session of the one process whose children it makes. Some children are kept
// ready ahead (the spares), so that a start is one message. The zygote's death costs nothing but the
// making of a new one: its children are children of this process. Thread-safe.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "launch/spawn.hpp"
#include "launch/wire.hpp"

namespace procession::launch {

class Zygote {
 public:
  // `configuration` is the payload that the zygote's Entry::configure gets.
  Zygote(Executable executable, channel::Payload configuration);
  Zygote(const Zygote&) = delete;
  Zygote& operator=(const Zygote&) = delete;
  ~Zygote();

  // Starts a child that runs `order`. `on_interrupt` is called when a signal interrupts the wait for
  // it; what it throws ends the start. OsError as from fork(2), or if the zygote itself can't live.
  Child start(const Order& order, const std::function<void()>& on_interrupt);

  // Ends zygote and spares and waits for both.
  void stop();

  // The pid of the zygote that runs now, or 0.
  pid_t pid();

  // For the session's fork handlers only.
  void lock_for_fork() { mutex_.lock(); }
  void unlock_after_fork(bool in_child);

 private:
  // A child from kMake to kStart: our end of its socket, and its pid once it has said hello.
  struct Seat {
    os::Fd socket;
    pid_t pid = 0;
    bool spare = false;    // asked for before it was needed
    int error_number = 0;  // why the zygote couldn't make it
  };
  enum class Answer { kHello, kNeedsAdoption, kRefused, kGone };

  bool offer(const StartView& start, Seat& seat, const std::function<void()>& on_interrupt);
  bool needs_adoption();
  os::Surroundings surroundings();
  Seat take_seat();
  Seat new_seat();
  Seat make_seat(bool as_orphan);
  void ensure_running();
  void bury();
  Answer await_answer(Seat& seat, const std::function<void()>& on_interrupt);
  Answer make_orphan(Seat& seat, const std::function<void()>& on_interrupt);
  void refill();
  void give_up(Seat seat);
  void end_seat(Seat seat);
  void reap_given_up();

  const Executable executable_;
  const channel::Payload configuration_;
  std::mutex mutex_;
  std::optional<Spawned> process_;
  os::OwnStatus own_status_;  // open while there is a zygote
  std::vector<Seat> spares_;
  std::vector<Seat> given_up_;  // whose start failed half-way
  bool needs_adoption_ = false;
  os::ExitStatus last_end_{};  // of the last zygote that died
};

}  // namespace procession::launch
