// SPDX-License-Identifier: Apache-2.0
// pool/pool: task -> call -> outcome, the parent's side: submit, dispatch, settle, supervise.
//
//   submit -> [ready] -> dispatch -> [call ring] -> work (pool/worker) -> [result ring] -> collect
//                                    a worker's death -> supervise -> an Outcome like any other
//
// The ledger holds every task from submit to its outcome, so that each ends exactly once, whatever
// dies. Who makes a worker process, and what a payload means, is the front door's business.
//
// Thread-safe. The mutex is held for moments only and never while anything of the front door runs, but
// for Options::settle.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/deadline.hpp"
#include "os/cpu.hpp"
#include "os/descendants.hpp"
#include "os/event.hpp"
#include "os/mutex.hpp"
#include "os/pidfd.hpp"
#include "pool/assigned.hpp"
#include "pool/board.hpp"
#include "pool/events.hpp"
#include "pool/ledger.hpp"
#include "pool/stats.hpp"
#include "pool/task_options.hpp"
#include "shm/arena.hpp"

namespace procession::pool {

struct Options {
  std::uint32_t max_workers = 1;
  std::uint32_t ring_size = 1 << 20;   // bytes, a power of two
  std::uint64_t tasks_per_worker = 0;  // a worker ends after so many; 0: never
  OnDeath on_death = OnDeath::kBreak;
  std::uint32_t retries = 0;
  std::chrono::nanoseconds timeout = kForever;  // that a task may run
  std::uint64_t max_rss = 0;  // bytes; a worker that has more after a task is replaced; 0: any
  std::chrono::nanoseconds idle_timeout = kForever;  // a worker without a task for so long ends
  // Keeps results that are as usual and the same, at once and in a moment: it is called with the pool's
  // mutex held. Gives how many, from the first one on: that which comes next is to be collected as
  // others are. Null: all are.
  std::size_t (*settle)(std::span<void* const> futures, base::BytesView payload) noexcept = nullptr;
};

// What is known of a worker that ended.
struct Death {
  pid_t pid = 0;
  os::ExitStatus status;
  std::optional<std::uint32_t> function;      // of the task that it was in
  std::shared_ptr<const Circumstances> more;  // of a death that nobody asked for
  std::chrono::nanoseconds timeout{};         // of the task that it is stopped for
};

enum class OutcomeKind : std::uint8_t { kResult, kFailure, kDied, kBroken, kTimedOut };

struct Outcome {
  // What few have.
  struct More {
    std::vector<shm::Block> blocks;
    std::shared_ptr<const Death> death;
  };

  // The receiver's to release.
  std::span<const shm::Block> blocks() const noexcept {
    return more ? std::span<const shm::Block>(more->blocks) : std::span<const shm::Block>();
  }
  // Or null. Of kTimedOut it is to come, so that only its pid is known.
  const Death* death() const noexcept { return more ? more->death.get() : nullptr; }

  void* future = nullptr;  // as given to submit
  std::size_t begin = 0;   // of the payload in Outcomes::bytes
  std::size_t size = 0;
  FunctionId function = 0;
  std::uint16_t form = 0;
  OutcomeKind kind = OutcomeKind::kResult;
  bool spilled = false;    // the payload is in the first block instead
  bool was_begun = false;  // kBroken: by the worker that died
  std::shared_ptr<More> more;
};

inline std::shared_ptr<Outcome::More> more_of(Death death) {
  return std::make_shared<Outcome::More>(
      Outcome::More{{}, std::make_shared<const Death>(std::move(death))});
}

// What a worker's end asks of the front door: to reap it.
struct Loss {
  std::uint32_t place = 0;
  Death death;
  bool expected = false;  // it was told to end, or stopped
};

// What a worker's front door tells the parent's.
struct Message {
  std::uint32_t form = 0;
  std::uint32_t place = 0;
  pid_t pid = 0;
  std::uint64_t task = kNoNumber;  // in the order of submits, if it was at one
  FunctionId function = 0;
  std::size_t begin = 0;  // of the payload in Outcomes::bytes
  std::size_t size = 0;
};

struct Outcomes {
  std::vector<Message> messages;  // came before what has ended
  std::vector<Outcome> ended;
  std::vector<Loss> losses;
  base::Bytes bytes;
  std::size_t settled = 0;  // ended, too, and were settled at once (Options::settle)

  bool has_unsettled() const noexcept {
    return !ended.empty() || !losses.empty() || !messages.empty();
  }
  bool empty() const noexcept { return settled == 0 && !has_unsettled(); }
  void clear() noexcept;

  // Has what may be added next find room: so many that ended, with a payload of so many bytes each.
  void make_room(std::size_t count, std::size_t size);
};

class Pool {
 public:
  explicit Pool(const Options& options);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  // The descriptors that a worker process needs, in the order of Worker's constructor.
  std::vector<int> worker_fds() const;

  // Keeps a function's bytes; each worker gets them once, ahead of its first call of it. `name` is
  // for people.
  FunctionId add_function(base::Bytes bytes, std::string name = {});

  // Takes a task; `future` comes back with its outcome. Never blocks. `blocks` of the arena go with
  // it and are released at its end; a payload above kLargestInline gets one of its own. kNoTask after
  // `close`, with the blocks still the caller's; OsError (ENOMEM) if memory is full.
  TaskId submit(FunctionId function, std::uint16_t form, base::BytesView payload, void* future);
  TaskId submit(FunctionId function, std::uint16_t form, base::BytesView payload, void* future,
                std::vector<shm::Block> blocks, const TaskOptions& options = {});

  // For the thread that is the mutex's favourite, under it: false, and nothing done, for any other.
  template <class Do>
  bool as_favourite(Do what) noexcept {
    if (!mutex_.try_lock_as_favourite()) return false;
    what();
    mutex_.unlock_as_favourite();
    return true;
  }

  // A task of that thread, only if it comes next in a row that a worker is being given: then it takes a
  // moment, else the task is kNoTask. `make` is called under the mutex, for its function and its future,
  // or null. `worker` is to be woken, if `needs_waking`.
  struct Made {
    FunctionId function = 0;
    void* future = nullptr;
  };
  struct Given {
    TaskId task = kNoTask;
    void* future = nullptr;
    WorkerBoard* worker = nullptr;
  };
  template <class Make>
  [[gnu::always_inline]] Given submit_at_once(std::uint16_t form, base::BytesView payload,
                                              Make make) noexcept {
    if (!mutex_.try_lock_as_favourite()) return {};
    Made made = make();
    Given given{kNoTask, made.future, quick_.worker};
    Run* run = made.future ? run_for(made.function, form, payload) : nullptr;
    if (run && run->count > 0 && write_next_call(quick_.place->calls, payload)) {
      given.task = run->add(made.future, payload);
    }
    mutex_.unlock_as_favourite();
    return given;
  }
  static bool needs_waking(const WorkerBoard& worker) noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return worker.fence_first.load(std::memory_order_relaxed) != 0 ||
           worker.asleep.load(std::memory_order_relaxed) != 0;
  }
  static void wake(WorkerBoard& worker) noexcept {
    if (worker.fence_first.load(std::memory_order_relaxed)) {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    if (worker.asleep.load(std::memory_order_relaxed) == 0) return;
    worker.woken_from.store(os::current_cpu(), std::memory_order_relaxed);
    if (worker.asleep.exchange(0, std::memory_order_relaxed)) os::futex_wake(worker.asleep, 1);
  }

  // A block of the arena with a copy of `bytes`, and what is to be done with those of outcomes.
  shm::Block put(base::BytesView bytes);
  std::span<std::byte> content(shm::Block block) const { return arena_.bytes(block); }
  void release(shm::Block block);

  // Whether a worker has been given it, and no outcome has come.
  bool is_assigned(TaskId task);

  // Takes a task back that no worker has been given. Gives its future, or null if it is too late.
  // `running`: also one that a worker has been given; that which has begun it is stopped, with the
  // processes that came of it, by SIGTERM and a moment later by SIGKILL, and replaced.
  void* cancel(TaskId task, bool running = false);

  // Takes all of those back.
  std::vector<void*> cancel_all();

  // A place for which a worker should be started now, or nothing. Its process is to be told with
  // `add_worker`, or `no_worker` if it could not be started. `all`: until there are `max_workers`,
  // whatever there is to do.
  std::optional<std::uint32_t> worker_wanted(bool all = false);
  void add_worker(std::uint32_t place, pid_t pid, os::Fd pidfd);
  void no_worker(std::uint32_t place);

  // No more tasks are taken.
  void close();
  bool is_closed() const noexcept { return closed_.load(std::memory_order_relaxed); }

  // No more workers are started; those that are there end when all tasks have ended.
  void finish();

  // From now on a worker's death breaks the pool, whatever the options say: workers are to be killed.
  void stop_now() noexcept { stopping_.store(true, std::memory_order_relaxed); }

  // Moves what workers have sent into `outcomes`, sees to dead workers, and hands out more work.
  void collect(Outcomes& outcomes);

  // The front door has dealt with a message: its worker may tell more.
  void heard(const Message& message);

  // Hands out work and takes in results, which stay for the next `collect`.
  void pump();

  // Waits for something to collect. The front is for one thread at a time, which waits for a task of
  // its own (`awaited`, or kAnyTask) and looks after all the others while it is there; the back is
  // for one that always waits, and is rung only while nobody is at the front. kReady may come
  // without a cause. `ready` is asked last, before the sleep.
  void enter_front() noexcept;
  template <class Ready>
  base::Waited wait_front(TaskId awaited, base::Deadline deadline, Ready ready);
  void leave_front();
  base::Waited wait_back(base::Deadline deadline);

  // Has every result ring for the thread at the back, as long as somebody needs them as they come.
  void want_all(bool on) noexcept;
  bool wants_all() const noexcept { return wants_all_.load(std::memory_order_relaxed); }

  // Wakes the thread at the back, or at the front.
  void ring_back() noexcept { os::ring(back_); }
  void ring_front() noexcept { os::ring(front_); }
  void ring_front_if_asleep() noexcept;

  // Whether a pump would find anything to do.
  bool needs_pump() const noexcept {
    return unpumped_.load(std::memory_order_relaxed) > 0 || has_news();
  }
  // Whether there is something to collect now; whether a worker's end, or a message, is.
  bool has_news() const noexcept;
  // Whether there are outcomes that have been taken from where they came and are yet to be settled, or
  // losses or messages.
  bool has_unsettled() const noexcept { return has_unsettled_.load(std::memory_order_acquire); }
  bool has_losses() const noexcept { return has_losses_.load(std::memory_order_acquire); }

  // Tasks without an outcome; workers that are there or being started, and one more as long as a
  // process is to be ended that came of one.
  std::size_t unfinished();
  std::size_t workers();
  bool is_finishing() const noexcept { return finishing_.load(std::memory_order_relaxed); }
  bool is_broken() const noexcept { return broken_.load(std::memory_order_relaxed); }

  // What it is doing, and has done; as of the last `collect` or `pump`.
  Stats stats();
  std::string name_of(FunctionId function);

  // Tells what happens from now on, up to `end_events`. Results are told of when they are
  // collected: who listens sees to that with `want_all`.
  std::shared_ptr<EventStream> listen(std::size_t limit);

  // Has a trace written to a file, before the first submit; OsError if there can be none. The
  // thread at the back is rung when there is much to write, and calls `write_trace`, which says if
  // that failed; after `end_events` it writes the rest.
  void trace_to(const std::string& path);
  std::string write_trace();

  // The pool has ended.
  void end_events();

 private:
  // A worker that holds work which it hasn't begun for so long, while another idles, loses it.
  static constexpr std::chrono::milliseconds kStall{2};
  // Who waits for a task behind which so many calls are in line is not woken for it alone, but with
  // others, or after so long: to be woken costs more than most calls that are given ahead.
  static constexpr std::uint64_t kInLine = 4;
  // Breaths: about what one sleep and wake across CPUs cost.
  static constexpr int kMostSpins = 2000;
  static constexpr int kFewestSpins = 50;
  static constexpr std::uint32_t kProbe = 32;
  // Breaths before the front asks whether it keeps a worker off its CPU.
  static constexpr int kBeforeGivingWay = 4;
  // Calls that take no more have a worker that is woken on the submitter's CPU go first.
  static constexpr std::uint64_t kGoesFirstNs = 50'000;
  static constexpr std::chrono::milliseconds kWithOthers{1};
  static constexpr std::uint64_t kNoPlace = ~std::uint64_t{1};  // beside places, in the wait sets
  // Results between two sleeps at the front above which it has the barrier, and workers have none.
  static constexpr std::uint64_t kManyResults = 256;
  // Submits in a row that leave it to others to see what workers have sent.
  static constexpr std::uint32_t kMostUnpumped = 256;

  struct Function {
    base::Bytes bytes;
    std::uint64_t average = 0;  // ns of a call, or 0 if none has ended
    std::string name = {};

    void note(std::uint64_t took) noexcept {
      average = average == 0 ? std::max<std::uint64_t>(took, 1)
                             : (7 * average + took) / 8 + (took > 8 ? 0 : 1);
    }
  };
  enum class State : std::uint8_t { kNone, kStarting, kThere, kEnding };
  using Clock = base::Deadline::Clock;
  static constexpr Clock::time_point kNever = Clock::time_point::max();
  // Between SIGTERM and SIGKILL, for a worker that is stopped and what came of it.
  static constexpr std::chrono::seconds kGrace{1};
  struct Place {
    State state = State::kNone;
    bool ready = false;
    bool corrupted = false;                 // what it writes is not to be trusted
    bool owes_stop = false;                 // it is to end after what it has, and wasn't told yet
    bool stopped = false;                   // it is being killed: what it sends comes too late
    bool timed = false;                     // the one task that it has may run until `act_at`
    bool full = false;                      // has as much work as it is given ahead, or nearly
    bool revoked = false;                   // and wasn't seen to have come to that yet
    Clock::time_point act_at = kNever;      // when the task is to be ended, or the worker killed
    Clock::time_point idle_since = kNever;  // if there's an idle_timeout
    // Of the task that it was stopped in: it may still be writing to them. In the order of
    // ResultHeader::kept; without a size if they are no more to be released.
    std::vector<shm::Block> orphans;
    pid_t pid = 0;
    os::Fd pidfd;
    shm::RingWriter calls;
    shm::RingReader results;
    Assigned assigned;
    std::vector<bool> knows;     // functions
    std::uint64_t sent = 0;      // calls so far
    std::uint64_t done = 0;      // results so far
    std::uint64_t sample = 0;    // the last of its Samples that was noted
    std::uint64_t expected = 0;  // ns of work given to it
    std::uint64_t done_at_last_look = 0;
    base::Deadline::Clock::time_point looked{};  // when it was last seen to make progress
    std::uint64_t used = 0;                      // when it was last given work
    std::uint64_t busy = 0;                      // ns that the calls took so far
    std::int64_t free_since = 0;                 // when the last of them ended
  };

  // The run that a worker will certainly be given the next calls of: decided at once, valid as long as
  // nobody but them has the mutex.
  struct Quick {
    Run* run = nullptr;
    std::uint32_t most = 0;  // calls
    Place* place = nullptr;
    WorkerBoard* worker = nullptr;
  };

  // A process that came of a stopped worker, and when it is to be killed.
  struct Doomed {
    os::Descendant process;
    Clock::time_point kill_at;
  };

  std::uint32_t slot_of(TaskId task) noexcept { return tasks_.slot_of(task); }
  TaskId id_of(std::uint32_t slot) noexcept { return tasks_.id_of(slot); }
  Task* find(TaskId task) noexcept { return tasks_.find(task); }
  void erase(std::uint32_t slot) noexcept;

  // The mutex, for whatever may change what `quick_` was granted for.
  class Hold {
   public:
    explicit Hold(Pool& pool) : lock_(pool.mutex_) {
      if (pool.quick_.run) pool.end_run();
    }

   private:
    std::lock_guard<os::Mutex> lock_;
  };

  // That such a call is to be added to, or null.
  Run* run_for(FunctionId function, std::uint16_t form, base::BytesView payload) const noexcept {
    Run* run = quick_.run;
    bool is_next = run && run->count < quick_.most && run->function == function &&
                   run->form == form && run->has_room(payload);
    return is_next ? run : nullptr;
  }
  TaskId submit_to_run(FunctionId function, std::uint16_t form, base::BytesView payload,
                       void* future) noexcept;
  // `first`: the worker that is to go first with it, once the mutex is free, if there is one.
  TaskId submit_locked(FunctionId function, std::uint16_t form, base::BytesView payload,
                       void* future, std::vector<shm::Block> blocks, bool spilled,
                       const TaskOptions& options, WorkerBoard*& first);
  void begin_run(Place& place, FunctionId function, std::uint16_t form,
                 std::size_t payload) noexcept;
  void end_run() noexcept;
  Place* place_with(TaskId task) noexcept;
  void unfold(Place& place);
  void pump_locked();
  void pump_for_others();
  void pump_after_submit() noexcept;
  void dispatch();
  void give_out();
  bool give_at_once(TaskId task);
  bool nothing_ready() const noexcept { return ready_.empty() && ranked_.empty(); }
  std::deque<TaskId>& queue_of(const Task& task);
  std::deque<TaskId>* next_queue() noexcept;
  Place* place_for(const Task& task) noexcept;
  bool can_take(Place& place, const Task& task) noexcept;
  bool assign(Place& place, TaskId task);
  Place& place_of(const Task& task) noexcept { return places_[task.place]; }
  bool send(Place& place, const CallHeader& header, std::span<const shm::Block> blocks,
            base::BytesView payload) noexcept;
  void send_stop(Place& place) noexcept;
  void tell_when_to_ring() noexcept;
  void wake(std::uint32_t index) noexcept { wake(board_.worker(index)); }
  void take_results(std::uint32_t index);
  void take_result(Place& place, base::BytesView record);
  void release_blocks(Task& task, std::uint64_t kept);
  void supervise(std::uint32_t index);
  void settle_death(Place& place, const Death& death);
  std::optional<std::uint32_t> begun(const Place& place) const noexcept;
  void requeue(Place& place, std::size_t keep);
  bool has_revoked(const Place& place) noexcept;
  void revoke(Place& place);
  void retire(Place& place);
  void begin_to_idle(Place& place) noexcept;
  void act_by(Clock::time_point point) noexcept;
  void keep_time();
  Clock::time_point keep_time_of(Place& place, Clock::time_point now);
  bool stop_running(std::uint32_t slot);
  void stop_worker(Place& place);
  void kill_worker(Place& place);
  void look_after_doomed();
  void release_orphans(Place& place);
  void take_back_unbegun();
  const Run* await(Place& place, TaskId task);
  bool take_plain_result(Place& place, base::BytesView record);
  void answer_run(Place& place, std::uint32_t calls, std::uint64_t took, std::uint16_t form,
                  base::BytesView payload);
  void take_nothings(Place& place, std::uint64_t ended, std::uint64_t most);
  void abandon_results(Place& place) noexcept;
  void note_sample(Place& place, std::uint64_t word) noexcept;
  bool answer_quickly(Place& place, std::uint64_t took, std::uint16_t form,
                      base::BytesView payload);
  void settle(std::span<void* const> futures, FunctionId function, std::uint16_t form,
              base::BytesView payload);
  void answer(Place& place, ResultHeader& header, base::BytesView payload,
              std::vector<shm::Block> blocks);
  void note_answers(Place& place, FunctionId function, std::uint32_t calls, std::uint64_t expected,
                    std::uint64_t took) noexcept;
  Outcome& add_outcome(std::uint16_t form, base::BytesView payload);
  void break_by_initializer(Place& place, const ResultHeader& header, base::BytesView payload,
                            const std::vector<shm::Block>& blocks);
  void end(std::uint32_t slot, Outcome outcome);
  void end_as(std::uint32_t slot, Outcome& outcome);
  // `ending`: a worker that has said so itself and may have more to say elsewhere.
  void break_all(const Outcome& reason, const Place* ending = nullptr);
  void note_ends(const std::vector<std::uint64_t>& ready);
  bool any_results() const noexcept;
  bool low_water() const noexcept;
  bool back_is_needed() const noexcept;
  void ring_sleeper() noexcept;
  base::Deadline bounded(base::Deadline deadline, bool with_others) const noexcept;
  bool see_results() noexcept;
  void choose_fences() noexcept;
  base::Waited sleep_front(base::Deadline deadline, bool with_others);
  bool may_spin() const noexcept { return busy_.load(std::memory_order_relaxed) < cpus_; }
  bool keeps_a_worker_off() const noexcept;
  bool goes_first(const Place& place, FunctionId function) const noexcept;
  static void give_way_to(WorkerBoard& worker) noexcept;
  bool comes_with_others(TaskId awaited);
  void count_busy() noexcept;
  std::uint32_t index_of(const Place& place) const noexcept;
  void take_message(const Place& place, const ResultHeader& header, base::BytesView payload,
                    const std::vector<shm::Block>& blocks);
  Recorder& recorder();
  void note_start(const Place& place);

  const Options options_;
  Board board_;
  shm::Arena arena_;
  std::mutex arena_mutex_;  // alone, or after mutex_
  os::Fd front_;
  os::Fd back_;
  os::WaitSet front_set_;
  os::WaitSet back_set_;

  os::Mutex mutex_;
  Quick quick_;
  Ledger tasks_;
  std::vector<Function> functions_;
  std::deque<TaskId> ready_;  // may hold ids of tasks that were cancelled
  // The same of other priorities than 0; none of them is empty.
  std::map<std::int32_t, std::deque<TaskId>, std::greater<>> ranked_;
  std::vector<Place> places_;
  Outcomes outcomes_;
  std::size_t unfinished_ = 0;
  std::uint64_t uses_ = 0;
  std::atomic<std::uint64_t> results_ = 0;           // so far
  std::atomic<std::uint64_t> results_at_sleep_ = 0;  // when the front slept last, or was about to
  std::atomic<std::uint32_t> unpumped_ = 0;          // tasks that nobody has tried to give out
  std::vector<Doomed> doomed_;
  std::atomic<Clock::time_point> act_at_ = kNever;  // no later than any place's, or kill_at
  std::uint64_t submits_ = 0;
  Counters counters_;
  std::unique_ptr<Recorder> recorder_;  // once somebody listens
  bool has_ended_ = false;              // in full: nothing more is told
  std::uint32_t failed_starts_ = 0;     // workers in a row that died before they were ready
  std::atomic<bool> closed_ = false;
  std::atomic<bool> finishing_ = false;
  std::atomic<bool> broken_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> wants_all_ = false;
  std::atomic<bool> has_outcomes_ = false;
  std::atomic<bool> has_unsettled_ = false;
  std::atomic<bool> has_losses_ = false;  // or messages: what is for the back only
  Outcome broken_by_;
  base::Bytes broken_by_bytes_;
  std::atomic<std::uint32_t> present_ = 0;  // places above this have never been used
  std::unique_ptr<std::atomic<bool>[]> ended_;
  std::atomic<std::uint32_t> endings_ = 0;
  std::atomic<bool> stalled_ = false;  // a worker idles while another has work that it hasn't begun
  std::atomic<bool> back_looks_ = false;      // the back sleeps no longer than a stall may last
  std::atomic<bool> was_waited_for_ = false;  // somebody came to the front after the last submit
  int front_spins_ = kMostSpins;
  bool front_can_leave_ = true;  // its CPU, as far as is known
  std::uint32_t vain_spins_ = 0;
  const std::uint32_t cpus_;
  std::atomic<std::uint32_t> busy_ = 0;  // places with work
};

template <class Ready>
base::Waited Pool::wait_front(TaskId awaited, base::Deadline deadline, Ready ready) {
  bool is_in_the_way = false;
  if (may_spin()) {  // else a worker needs the CPU
    for (int i = 0; i < front_spins_ * kLooks && !is_in_the_way; ++i) {
      if (has_news()) {
        front_spins_ = std::min(front_spins_ * 2, kMostSpins);
        return base::Waited::kReady;
      }
      if (i % kLooks == 0) pause();
      is_in_the_way = i == kBeforeGivingWay * kLooks && keeps_a_worker_off();
    }
    // Now and then a long one: a peer that has become quick is not met by short ones.
    if (!is_in_the_way) {
      front_spins_ =
          ++vain_spins_ % kProbe == 0 ? kMostSpins : std::max(front_spins_ / 2, kFewestSpins);
    }
  }
  bool with_others = comes_with_others(awaited);
  ParentBoard& parent = board_.parent();
  parent.awaited.store(with_others ? kNoTask : awaited, std::memory_order_relaxed);
  parent.front_cpu.store(may_spin() ? os::current_cpu() : -1, std::memory_order_relaxed);
  parent.crowded_cpu.store(front_can_leave_ ? ParentBoard::kNoCpu : ParentBoard::kCantLeave,
                           std::memory_order_relaxed);
  parent.front_asleep.store(1, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (wants_all()) {  // asked after the store: `want_all` stores the same, and may come between
    parent.awaited.store(kAnyTask, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  base::Waited waited = base::Waited::kReady;
  bool may_sleep = see_results();
  if (may_sleep && (with_others || !has_news()) && !ready()) {
    waited = sleep_front(deadline, with_others);
  }
  parent.front_asleep.store(0, std::memory_order_relaxed);
  return waited;
}

}  // namespace procession::pool
