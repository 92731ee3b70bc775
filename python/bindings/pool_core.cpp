// SPDX-License-Identifier: Apache-2.0
#include "pool_core.hpp"

#include <chrono>
#include <thread>

#include "batch.hpp"
#include "os/fd.hpp"
#include "os/process.hpp"
#include "pool_view.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

// A signal that comes between the look for one and the sleep doesn't end the sleep: it is seen by then.
constexpr std::chrono::milliseconds kBetweenLooks{200};

}  // namespace

PoolCore::PoolCore(const pool::Options& options, nb::object support, nb::object future,
                   nb::dict processes, std::size_t max_pending)
    : pool_(options),
      support_(std::move(support)),
      future_type_(std::move(future)),
      processes_(std::move(processes)),
      max_pending_(max_pending),
      owner_(os::current_pid()) {
  nb::module_ pickle = nb::module_::import_("_pickle");
  dumps_ = pickle.attr("dumps");
  loads_ = pickle.attr("loads");
  pool_.add_function({});  // kNoFunction
  names_.emplace_back(nb::none());
}

void PoolCore::add_worker(std::uint32_t place, int pid, int pidfd) {
  pool_.add_worker(place, pid, os::duplicate(pidfd));
}

nb::list PoolCore::cancel_all() {
  nb::list futures;
  for (void* future : pool_.cancel_all()) {
    if (Batch::Slot* slot = Batch::slot_of(future)) {
      futures.append(nb::cast(MapCall{slot}));
      continue;
    }
    const auto& one = *static_cast<FutureObject*>(future);
    if (one.condition || one.waiters || one.callbacks) --wanting_;
    futures.append(nb::steal(static_cast<PyObject*>(future)));
  }
  return futures;
}

bool PoolCore::take_back(FutureObject& future, bool running) {
  // In a forked copy of the owner the workers are somebody else's.
  void* given = pool_.cancel(future.task, running && os::current_pid() == owner_);
  if (!given) return false;
  Py_DECREF(static_cast<PyObject*>(given));  // the ledger's; the caller has one
  if (future.condition || future.waiters || future.callbacks) --wanting_;
  return true;
}

// --- look after

void PoolCore::want_all(FutureObject& future) {
  int asked =
      (future.condition != nullptr) + (future.waiters != nullptr) + (future.callbacks != nullptr);
  if (asked == 1) ++wanting_;
  if (!pool_.wants_all()) pool_.want_all(true);
}

nb::list PoolCore::look_after(double seconds) {
  pool::Outcomes outcomes;
  back_thread_ = std::this_thread::get_id();
  write_trace();
  if (deferred_.empty() && messages_.empty() && losses_.empty()) {
    nb::gil_scoped_release unlocked;
    pool_.wait_back(base::Deadline::after(std::chrono::duration<double>(seconds)));
  }
  std::swap(outcomes, deferred_);
  settle(outcomes, true);
  pool_.collect(outcomes);
  settle(outcomes, true);
  nb::list ended;
  for (const pool::Loss& loss : std::exchange(losses_, {})) {
    ended.append(loss.death.pid);
  }
  return ended;
}

void PoolCore::forget() {
  do {  // what a thread at the front has left, and what comes last
    pool::Outcomes outcomes;
    std::swap(outcomes, deferred_);
    settle(outcomes, true);
    pool_.collect(outcomes);
    settle(outcomes, true);
  } while (!messages_.empty());
  pool_.end_events();
  write_trace();
  functions_.clear();
  names_.clear();
}

// --- to be seen

nb::tuple PoolCore::stats() {
  look();
  return stats_of(pool_);
}

nb::object PoolCore::events(nb::object self, std::size_t limit) {
  return events_of(std::move(self), pool_, limit);
}

void PoolCore::want_results(bool on) {
  wanting_ += on ? 1 : -1;
  if (on != pool_.wants_all() && (on || wanting_ == 0)) pool_.want_all(on);
}

void PoolCore::write_trace() {
  std::string failure;
  {
    nb::gil_scoped_release unlocked;
    failure = pool_.write_trace();
  }
  if (failure.empty()) return;
  if (PyErr_WarnEx(PyExc_RuntimeWarning, failure.c_str(), 1) != 0) {
    PyErr_WriteUnraisable(support_.ptr());
  }
}

// --- wait

void PoolCore::wake_behind() {
  turns_.fetch_add(1);
  os::futex_wake(turns_, 1 << 20);
}

void PoolCore::wake_all() {
  pool_.ring_front();
  wake_behind();
}

void PoolCore::look() {
  if (!pool_.has_news()) return;
  pool::Outcomes outcomes;
  pool_.collect(outcomes);
  settle(outcomes, false);
}

bool PoolCore::wait_for(FutureObject& future, base::Deadline deadline) {
  nb::object keep = nb::borrow(future.core_object);
  return wait_until(future.task, deadline, [&] { return is_done(future); });
}

void PoolCore::wait_for_room() {
  auto has_room = [this] {
    return pool_.unfinished() < max_pending_ || pool_.is_finishing() || pool_.is_broken();
  };
  if (max_pending_ == 0 || has_room() || std::this_thread::get_id() == back_thread_) return;
  struct Count {
    std::size_t& waiting;
    explicit Count(std::size_t& of) : waiting(of) { ++waiting; }
    ~Count() { --waiting; }
  } count(waiting_for_room_);
  wait_until(pool::kAnyTask, base::Deadline::never(), has_room);
}

// At the front, until it is done or something else is to be seen to. A signal's handler may have had
// its turn to be called while this thread slept elsewhere, so that is asked for ahead of each sleep.
// `looks_first`: pumps even if there seems to be nothing to pump, which is rather slow.
template <class Done>
base::Waited PoolCore::be_at_front(pool::TaskId own, base::Deadline deadline, Done done,
                                   bool looks_first) {
  struct Leaving {
    explicit Leaving(PoolCore& of) : core(of) {}
    Leaving(const Leaving&) = delete;
    Leaving& operator=(const Leaving&) = delete;
    ~Leaving() {
      core.front_outcomes_.clear();
      core.front_taken_ = false;
      core.pool_.leave_front();
      if (core.waiting_behind_ > 0) core.wake_behind();
    }
    PoolCore& core;
  };
  front_taken_ = true;
  pool_.enter_front();
  Leaving leaving(*this);
  pool::Outcomes& outcomes = front_outcomes_;
  base::Waited waited = base::Waited::kReady;
  while (waited == base::Waited::kReady) {
    if (std::exchange(looks_first, true) || pool_.needs_pump()) {
      pool_.collect(outcomes);
      settle(outcomes, false);
    }
    if (done()) break;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    pool::TaskId awaited = waiting_behind_ > 0 ? pool::kAnyTask : own;
    nb::gil_scoped_release unlocked;
    waited = pool_.wait_front(awaited, deadline, done);
  }
  return waited;
}

base::Waited PoolCore::be_behind(base::Deadline deadline) {
  struct Count {
    std::uint32_t& waiting;
    explicit Count(std::uint32_t& of) : waiting(of) { ++waiting; }
    ~Count() { --waiting; }
  } count(waiting_behind_);
  std::uint32_t turn = turns_.load();
  pool_.ring_front();  // so that it waits for this one's result, too
  nb::gil_scoped_release unlocked;
  return os::futex_wait(turns_, turn, deadline);
}

template <class Done>
bool PoolCore::wait_until(pool::TaskId own, base::Deadline deadline, Done done) {
  for (bool is_first = true; !done(); is_first = false) {
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    auto look = base::Deadline::earlier(deadline, base::Deadline::after(kBetweenLooks));
    base::Waited waited = front_taken_ ? be_behind(look) : be_at_front(own, look, done, !is_first);
    if (waited == base::Waited::kTimedOut && deadline.passed()) break;
  }
  return done();
}

// --- map

nb::object PoolCore::map(nb::object self, nb::handle function, nb::handle items, bool star,
                         nb::callable by_rule) {
  struct Holding {
    explicit Holding(Batch* of) : batch(of) {}
    Holding(const Holding&) = delete;
    Holding& operator=(const Holding&) = delete;
    ~Holding() { batch->let_go(); }
    Batch* batch;
  } holding(new Batch(std::move(self)));
  std::deque<Batch::Slot>& slots = holding.batch->slots();
  try {
    submit_all_in(*holding.batch, function, items, star, by_rule);
  } catch (...) {
    for (Batch::Slot& slot : slots) {
      if (slot.is_settled()) continue;
      bool is_given = slot.task() != pool::kNoTask;  // else the pool refused it: there's no memory
      if (!is_given || pool_.cancel(slot.task())) slot.settle(nb::none(), false);
    }
    throw;
  }
  // From the last: until it has ended, nobody needs to be woken for the others.
  for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) {
    wait_until(slot->task(), base::Deadline::never(),
               [&] { return slot->is_settled() || holding.batch->is_interrupted(); });
  }
  return holding.batch->take();
}

}  // namespace procession::bindings
