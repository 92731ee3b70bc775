// SPDX-License-Identifier: Apache-2.0
#include "crew.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <limits>
#include <new>

#include "os/clone.hpp"
#include "pool/worker.hpp"

namespace procession::pool {

namespace {

constexpr unsigned kWatchdogSeconds = 200;

std::byte pattern(std::uint64_t number, std::size_t at) {
  return static_cast<std::byte>(number * 31 + at * 7 + at / 256);
}

base::Bytes bytes_of(const Job& job, std::size_t size) {
  base::Bytes bytes(sizeof job + size);
  std::memcpy(bytes.data(), &job, sizeof job);
  for (std::size_t i = 0; i < size; ++i) bytes[sizeof job + i] = pattern(job.number, i);
  return bytes;
}

bool is_right(const Job& job, base::BytesView payload) {
  if (job.act == Act::kNothing) return payload.empty();
  Job answered;
  if (payload.size() < sizeof answered) return false;
  std::memcpy(&answered, payload.data(), sizeof answered);
  if (answered.number != job.number || answered.act != job.act) return false;
  payload = payload.subspan(sizeof answered);
  if (job.act == Act::kGrow && payload.size() != job.argument) return false;
  for (std::size_t i = 0; i < payload.size(); ++i) {
    if (payload[i] != pattern(job.number, i)) return false;
  }
  return true;
}

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

void spin(std::uint64_t microseconds) {
  auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
  while (std::chrono::steady_clock::now() < end) {
  }
}

template <class Condition>
void yield_until(Condition holds) {
  while (!holds()) ::sched_yield();
}

}  // namespace

Gate::Gate() {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  read_.reset(ends[0]);
  write_.reset(ends[1]);
}

void Gate::open(int times) const {
  for (int i = 0; i < times; ++i) EXPECT_EQ(::write(write_.get(), "x", 1), 1);
}

void Gate::pass() const {
  char byte = 0;
  EXPECT_EQ(::read(read_.get(), &byte, 1), 1);
}

Crew::Crew(const Options& options, bool all, bool wants_all)
    : pool_(options),
      all_(all),
      tally_(new (::mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                         -1, 0)) Tally),
      function_(pool_.add_function(base::Bytes(100, std::byte{7}))) {
  if (wants_all) pool_.want_all(true);
  supervisor_ = std::thread([this] { supervise(); });
}

Crew::~Crew() {
  finish();
  ::munmap(tally_, sizeof(Tally));
}

// --- the worker

void Crew::work(std::uint32_t place) {
  ::alarm(kWatchdogSeconds);
  std::vector<int> fds = pool_.worker_fds();
  auto fd = [&](int which) { return os::duplicate(fds[static_cast<std::size_t>(which)]); };
  Worker worker(fd(0), place, fd(1), fd(2), fd(3));
  static base::Bytes out(std::size_t{2} << 20);
  worker.say_ready();
  Call call;
  while (worker.next(
      call, [](bool) {}, [] {})) {
    if (call.header.kind == CallKind::kFunction) continue;
    Job job;
    if (call.payload.size() < sizeof job) ::_exit(91);
    std::memcpy(&job, call.payload.data(), sizeof job);
    std::int64_t began = now_ns();
    if (job.act != Act::kMakeChild) tally_->began.fetch_add(1);
    tally_->turn[job.number % 4096].store(tally_->order.fetch_add(1));
    tally_->runs[job.number % 4096].fetch_add(1);
    ResultHeader header{call.header.task};
    header.began = began;
    base::BytesView answer = call.payload;
    switch (job.act) {
      case Act::kEcho:
        break;
      case Act::kNothing:  // now and then it says how long it took
        worker.reply(call.header.task, {began, job.number % 8 == 0 ? 100 : 0}, 0, {});
        tally_->sent.fetch_add(1);
        continue;
      case Act::kSpin:
        spin(job.argument);
        break;
      case Act::kGrow: {
        std::memcpy(out.data(), &job, sizeof job);
        for (std::size_t i = 0; i < job.argument; ++i) {
          out[sizeof job + i] = pattern(job.number, i);
        }
        answer = base::BytesView(out).first(sizeof job + job.argument);
        break;
      }
      case Act::kKill:
        tally_->kills.fetch_add(1);
        die();
      case Act::kKillOnce:
        if (tally_->kills.fetch_add(1) == 0) die();
        break;
      case Act::kExit:
        tally_->kills.fetch_add(1);
        ::_exit(static_cast<int>(job.argument));
      case Act::kWait: {
        char byte = 0;
        if (::read(static_cast<int>(job.argument), &byte, 1) != 1) ::_exit(92);
        break;
      }
      case Act::kDeafWait:
        ::signal(SIGTERM, SIG_IGN);
        while (true) ::pause();
      case Act::kMakeChild: {
        pid_t child = os::fork_process();
        if (child == 0) {
          ::alarm(kWatchdogSeconds);
          if (job.argument) ::signal(SIGTERM, SIG_IGN);
          tally_->child.store(::getpid());
          tally_->began.fetch_add(1);
        }
        while (true) ::pause();
      }
      case Act::kRaise:
        header.kind = ResultKind::kFailure;
        break;
      case Act::kTornSend: {
        Board board(fd(0));
        shm::RingMemory ring = board.results(place);
        std::uint64_t at = ring.control->tail.load() & (ring.data.size() - 1);
        std::memset(ring.data.data() + at, 0x5a, std::min<std::size_t>(ring.data.size() - at, 999));
        tally_->kills.fetch_add(1);
        die();
      }
      case Act::kTornRing: {
        Board board(fd(0));
        while (!board.parent().front_asleep.exchange(0)) ::sched_yield();
        tally_->kills.fetch_add(1);
        die();
      }
      case Act::kCorrupt: {
        Board board(fd(0));
        shm::RingMemory ring = board.results(place);
        std::uint64_t tail = ring.control->tail.load();
        std::uint64_t at = tail & (ring.data.size() - 1);
        tally_->kills.fetch_add(1);
        if (job.argument == 0) {  // a length out of all bounds
          std::memset(ring.data.data() + at, 0x5a, 64);
          ring.control->tail.store(tail + 64);
        } else if (job.argument == 1) {  // a tail out of all bounds
          ring.control->tail.store(tail + (std::uint64_t{1} << 40));
        } else if (job.argument == 2) {  // somebody else's result
          header.task = job.number + 12345;
          worker.reply(header, answer);
        } else if (job.argument == 3) {  // a time out of all bounds
          header.began = header.nanoseconds = std::numeric_limits<std::int64_t>::max();
          worker.reply(header, answer);
        } else {  // a torn result
          std::uint64_t length = 3;
          std::memcpy(ring.data.data() + at, &length, sizeof length);
          ring.control->tail.store(tail + 16);
        }
        os::ring(fd(2));
        while (true) ::pause();
      }
      case Act::kCantBegin:
        header.task = kNoTask;
        header.kind = ResultKind::kCantBegin;
        worker.reply(header, answer);
        ::_exit(1);
    }
    header.nanoseconds = now_ns() - header.began;
    worker.reply(header, answer);
    tally_->sent.fetch_add(1);
  }
  ::_exit(0);
}

// --- the parent

void Crew::start(std::uint32_t place) {
  pid_t pid = 0;
  {
    std::lock_guard lock(no_fork_);
    pid = os::fork_process();
  }
  if (pid == 0) work(place);
  os::Fd pidfd = os::open_pidfd(pid);
  {
    std::lock_guard lock(mutex_);
    workers_[place] = pid;
    changed_.notify_all();
  }
  pool_.add_worker(place, pid, std::move(pidfd));
}

void Crew::settle(Outcomes& outcomes) {
  std::lock_guard lock(mutex_);
  for (const Outcome& outcome : outcomes.ended) {
    auto number = reinterpret_cast<std::uintptr_t>(outcome.future) - 1;
    Ending& ending = endings_.at(number);
    auto payload = outcome.spilled
                       ? base::BytesView(pool_.content(outcome.blocks().front()))
                       : base::BytesView(outcomes.bytes).subspan(outcome.begin, outcome.size);
    ++ending.count;
    ending.kind = outcome.kind;
    ending.right = is_right(jobs_.at(number), payload);
    if (outcome.more) ending.death = outcome.more->death;
    for (shm::Block block : outcome.blocks()) pool_.release(block);
    ++ended_;
  }
  to_reap_.insert(to_reap_.end(), outcomes.losses.begin(), outcomes.losses.end());
  if (!outcomes.losses.empty()) pool_.ring_back();
  changed_.notify_all();
}

void Crew::supervise() {
  Outcomes outcomes;
  while (true) {
    std::vector<Loss> losses;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !hold_; });
      losses.swap(to_reap_);
    }
    for (const Loss& loss : losses) {
      int status = 0;
      EXPECT_EQ(::waitpid(loss.death.pid, &status, WNOHANG), loss.death.pid)
          << "a loss that is alive";
      std::lock_guard lock(mutex_);
      if (workers_[loss.place] == loss.death.pid) workers_.erase(loss.place);
      losses_.push_back(loss);
      changed_.notify_all();
    }
    bool ending = pool_.is_finishing() || pool_.is_broken();
    while (!pool_.is_broken()) {
      auto place = pool_.worker_wanted(all_ && !ending);
      if (!place) break;
      start(*place);
    }
    if (pool_.is_finishing() && pool_.unfinished() == 0 && pool_.workers() == 0) {
      std::lock_guard lock(mutex_);
      if (to_reap_.empty() && !pool_.has_news()) break;
    }
    pool_.wait_back(base::Deadline::never());
    pool_.collect(outcomes);
    settle(outcomes);
    pool_.ring_front_if_asleep();
  }
}

TaskId Crew::submit_usual(base::BytesView payload, void* future) {
  Pool::Given given = pool_.submit_at_once(0, payload, [&] {
    return Pool::Made{function_, future};
  });
  if (given.task == kNoTask) return pool_.submit(function_, 0, payload, future);
  ++given_at_once_;
  if (Pool::needs_waking(*given.worker)) Pool::wake(*given.worker);
  return given.task;
}

std::uint64_t Crew::submit(Act act, std::uint64_t argument, std::size_t bytes,
                           const TaskOptions& options) {
  std::lock_guard no_fork(no_fork_);
  std::unique_lock lock(mutex_);
  std::uint64_t number = jobs_.size();
  jobs_.push_back({act, number, argument});
  endings_.emplace_back();
  ids_.push_back(kNoTask);
  Job job = jobs_.back();
  lock.unlock();
  bool is_usual =
      options.priority == 0 && !options.timeout && !options.on_death && !options.retries;
  base::Bytes payload = bytes_of(job, bytes);
  auto* future = reinterpret_cast<void*>(static_cast<std::uintptr_t>(number + 1));
  TaskId task = is_usual ? submit_usual(payload, future)
                         : pool_.submit(function_, 0, payload, future, {}, options);
  lock.lock();
  ids_[number] = task;
  lock.unlock();
  if (!all_) pool_.ring_back();
  return number;
}

void Crew::use_function(std::size_t bytes) { function_ = pool_.add_function(base::Bytes(bytes)); }

TaskId Crew::id(std::uint64_t number) {
  std::lock_guard lock(mutex_);
  return ids_.at(number);
}

bool Crew::cancel(std::uint64_t number, bool running) {
  void* future = pool_.cancel(id(number), running);
  if (!future) return false;
  std::lock_guard lock(mutex_);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(future), number + 1);
  ++endings_[number].count;
  ++ended_;
  return true;
}

std::size_t Crew::cancel_all() {
  std::vector<void*> futures = pool_.cancel_all();
  std::lock_guard lock(mutex_);
  for (void* future : futures) {
    ++endings_.at(reinterpret_cast<std::uintptr_t>(future) - 1).count;
    ++ended_;
  }
  return futures.size();
}

Ending Crew::ending(std::uint64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return endings_.at(number).count > 0; });
  return endings_[number];
}

Ending Crew::now(std::uint64_t number) {
  std::lock_guard lock(mutex_);
  return endings_.at(number);
}

void Crew::all_ended() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_ >= jobs_.size(); });
}

void Crew::workers_are(std::size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return workers_.size() == count; });
}

void Crew::began(std::uint64_t count) const {
  yield_until([&] { return tally_->began.load() >= count; });
}

void Crew::sent(std::uint64_t count) const {
  yield_until([&] { return tally_->sent.load() >= count; });
}

void Crew::kill(std::size_t which) {
  std::lock_guard lock(mutex_);
  if (workers_.empty()) return;
  auto worker = std::next(workers_.begin(), static_cast<long>(which % workers_.size()));
  ::kill(worker->second, SIGKILL);  // not reaped as long as it is listed
}

void Crew::kill_all() {
  std::lock_guard lock(mutex_);
  for (auto [place, pid] : workers_) ::kill(pid, SIGKILL);
}

void Crew::finish() {
  if (std::exchange(finished_, true)) return;
  pool_.finish();
  pool_.ring_back();
  supervisor_.join();
  for (std::size_t i = 0; i < endings_.size(); ++i) {
    EXPECT_EQ(endings_[i].count, 1) << "task " << i << " of " << endings_.size();
    if (endings_[i].kind == OutcomeKind::kDied) {
      EXPECT_TRUE(endings_[i].death) << "task " << i;
    }
  }
  for (const Loss& loss : losses_) EXPECT_NE(loss.death.status, os::kStatusLost);
}

std::size_t Crew::ended() {
  std::lock_guard lock(mutex_);
  return ended_;
}

std::size_t Crew::count(OutcomeKind kind) {
  std::lock_guard lock(mutex_);
  std::size_t found = 0;
  for (const Ending& ending : endings_) {
    found +=
        ending.count > 0 && ending.kind == kind && (kind != OutcomeKind::kResult || ending.right);
  }
  return found;
}

std::vector<Loss> Crew::losses() {
  std::lock_guard lock(mutex_);
  return losses_;
}

std::vector<pid_t> Crew::pids() {
  std::lock_guard lock(mutex_);
  std::vector<pid_t> pids;
  for (auto [place, pid] : workers_) pids.push_back(pid);
  return pids;
}

void Crew::hold(bool on) {
  std::lock_guard lock(mutex_);
  hold_ = on;
  changed_.notify_all();
}

}  // namespace procession::pool
