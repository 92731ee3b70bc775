// SPDX-License-Identifier: Apache-2.0
#include "launch/zygote_client.hpp"

#include <cerrno>
#include <utility>

#include "base/error.hpp"
#include "launch/session.hpp"
#include "os/clone.hpp"
#include "os/poll.hpp"
#include "os/socket.hpp"

namespace procession::launch {

namespace {

// A zygote that dies this often in a row before it makes one child has a reason of its own.
constexpr int kMostAttempts = 8;

// One that is starting its warm-up while another one is taken.
constexpr std::size_t kSpares = 2;

const auto kNoInterrupt = [] {};

// Orphans become this process's children while it lives.
class Adoption {
 public:
  Adoption() : before_(os::become_subreaper(true)) {}
  ~Adoption() { os::become_subreaper(before_); }
  Adoption(const Adoption&) = delete;
  Adoption& operator=(const Adoption&) = delete;

 private:
  bool before_;
};

}  // namespace

Zygote::Zygote(Executable executable, channel::Payload configuration)
    : executable_(std::move(executable)), configuration_(std::move(configuration)) {}

Zygote::~Zygote() { stop(); }

Child Zygote::start(const Order& order, const std::function<void()>& on_interrupt) {
  Session& session = Session::instance();
  session.reap_abandoned();
  reap_given_up();
  int own_pidfd = session.own_pidfd();
  os::Surroundings surroundings = this->surroundings();
  StartView view{order.name, order.payload, order.fds, surroundings, own_pidfd};
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    os::Fd reserved = os::open_null();  // so that there is a descriptor left for the pidfd
    Seat seat;
    try {
      bool sent = offer(view, seat, on_interrupt);
      if (seat.pid == 0) continue;
      reserved.reset();
      os::Fd pidfd = os::open_pidfd(seat.pid);
      if (sent) return session.adopt(seat.pid, std::move(pidfd), std::move(seat.socket));
      discard(pidfd);  // a spare that somebody killed before it was needed
    } catch (...) {
      give_up(std::move(seat));
      throw;
    }
  }
  throw base::OsError(ECHILD, "the fork server ('" + executable_.path +
                                  "') ended again and again before it made a process, last with "
                                  "exit code " +
                                  std::to_string(last_end_.value()));
}

// Takes a seat and sends it the start. Returns whether it was sent; the seat has a pid if there is
// a child.
bool Zygote::offer(const StartView& start, Seat& seat, const std::function<void()>& on_interrupt) {
  Answer answer = Answer::kNeedsAdoption;
  bool sent = false;
  if (!needs_adoption()) {
    seat = take_seat();
    sent = send_start(seat.socket, start);
    if (sent) refill();
    answer = await_answer(seat, on_interrupt);
    if (answer == Answer::kRefused &&
        seat.spare) {  // what held when it was asked for may have passed
      seat = new_seat();
      sent = send_start(seat.socket, start);
      answer = await_answer(seat, on_interrupt);
    }
  }
  if (answer == Answer::kNeedsAdoption) {
    answer = make_orphan(seat, on_interrupt);
    sent = answer == Answer::kHello && send_start(seat.socket, start);
  }
  if (answer == Answer::kRefused) {
    throw base::OsError(seat.error_number, "the fork server can't make a process");
  }
  return sent;
}

os::Surroundings Zygote::surroundings() {
  std::lock_guard lock(mutex_);
  if (!own_status_.valid()) own_status_ = os::OwnStatus::open();
  return os::current_surroundings(own_status_);
}

bool Zygote::needs_adoption() {
  std::lock_guard lock(mutex_);
  return needs_adoption_;
}

// A child that is ready, or one that the zygote was just asked for.
Zygote::Seat Zygote::take_seat() {
  std::lock_guard lock(mutex_);
  if (!spares_.empty()) {
    Seat oldest = std::move(spares_.front());  // the one that has had the most time to warm up
    spares_.erase(spares_.begin());
    return oldest;
  }
  return make_seat(false);
}

Zygote::Seat Zygote::new_seat() {
  std::lock_guard lock(mutex_);
  return make_seat(false);
}

// Under the mutex.
Zygote::Seat Zygote::make_seat(bool as_orphan) {
  auto [ours, theirs] = os::packet_pair();
  ensure_running();
  while (!send_make(process_->socket, theirs, as_orphan)) {
    bury();
    ensure_running();
  }
  return {.socket = std::move(ours)};
}

void Zygote::ensure_running() {
  if (process_ &&
      os::wait_readable(process_->pidfd.get(), base::Deadline::now()) == base::Waited::kReady) {
    bury();
  }
  if (!process_) process_ = spawn(executable_, {"zygote", configuration_, {}}, kServe);
}

void Zygote::bury() {
  last_end_ = discard(process_->pidfd);
  process_.reset();
  needs_adoption_ = false;
}

Zygote::Answer Zygote::await_answer(Seat& seat, const std::function<void()>& on_interrupt) {
  channel::Message message;
  while (seat.pid == 0) {
    base::Waited waited = os::wait_readable(seat.socket.get(), base::Deadline::never());
    if (waited == base::Waited::kInterrupted) on_interrupt();
    if (waited != base::Waited::kReady) continue;
    os::Received received = channel::receive_message(seat.socket, message, false);
    if (received == os::Received::kEndOfFile) return Answer::kGone;
    if (received != os::Received::kPacket) continue;
    if (message.kind == kHello) seat.pid = decode_hello(message);
    if (message.kind != kRefused) continue;
    Refusal refusal = decode_refusal(message);
    if (refusal.needs_adoption) return Answer::kNeedsAdoption;
    seat.error_number = refusal.error_number;
    return Answer::kRefused;
  }
  return Answer::kHello;
}

// A start that failed half-way leaves a child that is there, or may come yet: it is ended and
// reaped, now or by a later call.
void Zygote::give_up(Seat seat) {
  if (!seat.socket.valid()) return;
  std::lock_guard lock(mutex_);
  given_up_.push_back(std::move(seat));
}

Zygote::Answer Zygote::make_orphan(Seat& seat, const std::function<void()>& on_interrupt) {
  Adoption adoption;
  {
    std::lock_guard lock(mutex_);
    needs_adoption_ = true;
    seat = make_seat(true);
  }
  return await_answer(seat, on_interrupt);
}

// Has the next child made while this one starts. Only a convenience: its failure is the next start's.
void Zygote::refill() {
  std::lock_guard lock(mutex_);
  if (needs_adoption_ || !process_) return;
  try {
    while (spares_.size() < kSpares) spares_.emplace_back(make_seat(false)).spare = true;
  } catch (const base::OsError&) {
  }
}

void Zygote::end_seat(Seat seat) {
  await_answer(seat, kNoInterrupt);
  if (seat.pid != 0) os::end_child(seat.pid);
}

void Zygote::reap_given_up() {
  std::vector<Seat> ready;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(given_up_, [&](Seat& seat) {
      if (seat.pid == 0 &&
          os::wait_readable(seat.socket.get(), base::Deadline::now()) != base::Waited::kReady) {
        return false;
      }
      ready.push_back(std::move(seat));
      return true;
    });
  }
  for (Seat& seat : ready) end_seat(std::move(seat));
}

void Zygote::stop() {
  std::lock_guard lock(mutex_);
  if (process_) bury();
  own_status_ = {};
  for (Seat& seat : std::exchange(spares_, {})) end_seat(std::move(seat));
  for (Seat& seat : std::exchange(given_up_, {})) end_seat(std::move(seat));
}

pid_t Zygote::pid() {
  std::lock_guard lock(mutex_);
  return process_ ? process_->pid : 0;
}

void Zygote::unlock_after_fork(bool in_child) {
  if (in_child) {
    process_.reset();
    own_status_ = {};
    spares_.clear();
    given_up_.clear();
  }
  mutex_.unlock();
}

}  // namespace procession::launch
