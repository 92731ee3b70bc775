// SPDX-License-Identifier: Apache-2.0
#include "pool_core.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "arena_buffer.hpp"
#include "base/error.hpp"
#include "batch.hpp"
#include "os/fd.hpp"
#include "os/process.hpp"
#include "plain.hpp"
#include "pool_view.hpp"
#include "sink.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

// Objects that `is_plain` looks at before it leaves the rest to the pickler that knows the rule.
constexpr int kPlainBudget = 64;
// A signal that comes between the look for one and the sleep doesn't end the sleep: it is seen by then.
constexpr std::chrono::milliseconds kBetweenLooks{200};
constexpr std::size_t kBreath = 4096;  // calls that a map() submits without giving up the GIL

constexpr pool::FunctionId kNoFunction = 0;  // named by calls of Form::kAnything
constexpr std::size_t kMostLabels = 10'000;

base::BytesView bytes_of(PyObject* bytes) {
  return std::as_bytes(
      std::span(PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))));
}

std::span<PyObject* const> span_of(const nb::tuple& tuple) {
  return {&PyTuple_GET_ITEM(tuple.ptr(), 0), tuple.size()};
}

base::Bytes copy_of(PyObject* bytes) {
  base::BytesView view = bytes_of(bytes);
  return {view.begin(), view.end()};
}

nb::bytes to_python(base::BytesView bytes) {
  return nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

nb::object standard_future() {
  return nb::module_::import_("concurrent.futures._base").attr("Future");
}

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

// --- submit

// Ahead of all that it is made for: Python 3.11 may collect garbage here, and a finaliser submit.
nb::object PoolCore::make_future(nb::handle self) {
  auto* type = reinterpret_cast<PyTypeObject*>(future_type_.ptr());
  nb::object object = nb::steal(type->tp_alloc(type, 0));
  if (!object.is_valid()) throw nb::python_error();
  auto& future = *reinterpret_cast<FutureObject*>(object.ptr());
  future.task = pool::kNoTask;
  future.core = this;
  future.core_object = self.inc_ref().ptr();
  return object;
}

// Positional arguments as `Form::kPlainArgs` has them, in `scratch_`. False if they take a pickler.
bool PoolCore::write_args(std::span<PyObject* const> args) {
  scratch_.clear();
  if (args.size() > kMostPlainArgs) return false;
  scratch_.push_back(static_cast<std::byte>(args.size()));
  int budget = kPlainBudget;
  for (PyObject* arg : args) {
    if (!write_plain(arg, budget, scratch_)) return false;
  }
  return true;
}

nb::object PoolCore::submit(nb::handle self, nb::handle function, nb::tuple args, nb::dict keywords,
                            const pool::TaskOptions& options) {
  if (max_pending_ > 0) wait_for_room();
  nb::object object = make_future(self);
  auto known = functions_.find(function.ptr());
  if (pool_.is_broken() || pool_.is_finishing() || known == functions_.end()) return nb::none();
  pool::FunctionId id = known->second;
  Form form = Form::kPlainArgs;
  nb::object pickled;
  bool has_keywords = keywords.size() > 0;
  if (has_keywords || !write_args(span_of(args))) {
    int budget = kPlainBudget;
    if (!is_plain(args.ptr(), budget) || (has_keywords && !is_plain(keywords.ptr(), budget))) {
      return nb::none();
    }
    form = has_keywords ? Form::kArgsAndKeywords : Form::kArgs;
    pickled = has_keywords ? dumps_(nb::make_tuple(args, keywords), 5) : dumps_(args, 5);
  }
  auto* future = reinterpret_cast<FutureObject*>(object.ptr());
  Py_INCREF(future);  // the ledger's
  future->task =
      pool_.submit(id, static_cast<std::uint16_t>(form),
                   pickled.is_valid() ? bytes_of(pickled.ptr()) : scratch_, future, {}, options);
  return object;
}

nb::object PoolCore::submit_plainly(nb::handle self, nb::handle function,
                                    std::span<PyObject* const> args) {
  nb::object object = make_future(self);
  auto known = functions_.find(function.ptr());
  bool is_usual = max_pending_ == 0 && !pool_.is_broken() && !pool_.is_finishing() &&
                  known != functions_.end() && write_args(args) &&
                  scratch_.size() <= pool::kLargestInline;
  if (!is_usual) return {};
  auto* future = reinterpret_cast<FutureObject*>(object.ptr());
  Py_INCREF(future);  // the ledger's
  future->task =
      pool_.submit(known->second, static_cast<std::uint16_t>(Form::kPlainArgs), scratch_, future);
  return object;
}

// What calls that carry their function name instead: known by what people call it.
pool::FunctionId PoolCore::label(const std::string& name) {
  if (name.empty()) return kNoFunction;
  auto known = labels_.find(name);
  if (known != labels_.end()) return known->second;
  if (labels_.size() >= kMostLabels) return kNoFunction;
  pool::FunctionId id = pool_.add_function({}, name);
  if (names_.size() <= id) names_.resize(id + std::size_t{1});
  names_[id] = nb::str(name.c_str(), name.size());
  labels_.emplace(name, id);
  return id;
}

std::vector<shm::Block> PoolCore::put_all(const nb::list& buffers) {
  std::vector<shm::Block> blocks;
  try {
    for (nb::handle buffer : buffers) {
      BufferView view(buffer);
      nb::gil_scoped_release unlocked;
      blocks.push_back(pool_.put(view.bytes()));
    }
  } catch (...) {
    for (shm::Block block : blocks) pool_.release(block);
    throw;
  }
  return blocks;
}

nb::object PoolCore::submit_pickled(nb::handle self, nb::bytes payload, nb::list buffers,
                                    const std::string& name, const pool::TaskOptions& options) {
  nb::object object = make_future(self);
  pool::FunctionId function = label(name);
  auto* future = reinterpret_cast<FutureObject*>(object.ptr());
  std::vector<shm::Block> blocks = put_all(buffers);
  Py_INCREF(future);
  nb::gil_scoped_release unlocked;
  pool::TaskId task = pool_.submit(function, static_cast<std::uint16_t>(Form::kAnything),
                                   bytes_of(payload.ptr()), future, std::move(blocks), options);
  future->task = task;
  return object;
}

// --- map

// One call of map(): as it can, or as `by_rule` pickles it.
void PoolCore::submit_in(Batch& batch, std::optional<pool::FunctionId> function,
                         std::span<PyObject* const> args, const nb::callable& by_rule) {
  if (max_pending_ > 0) wait_for_room();
  if (function && write_args(args)) {
    Batch::Slot& slot = batch.add();
    slot.set_task(pool_.submit(*function, static_cast<std::uint16_t>(Form::kPlainArgs), scratch_,
                               slot.future()));
    return;
  }
  nb::list given;
  for (PyObject* arg : args) given.append(nb::borrow(arg));
  auto [payload, buffers, name] =
      nb::cast<std::tuple<nb::bytes, nb::list, std::string>>(by_rule(nb::tuple(given)));
  std::vector<shm::Block> blocks = put_all(buffers);
  Batch::Slot& slot = batch.add();
  slot.set_task(pool_.submit(label(name), static_cast<std::uint16_t>(Form::kAnything),
                             bytes_of(payload.ptr()), slot.future(), std::move(blocks)));
}

void PoolCore::submit_all_in(Batch& batch, nb::handle function, nb::handle items, bool star,
                             const nb::callable& by_rule) {
  std::optional<pool::FunctionId> id;
  if (auto known = functions_.find(function.ptr()); known != functions_.end()) id = known->second;
  std::size_t count = 0;
  for (nb::handle item : nb::iter(items)) {
    if (star) {
      nb::tuple args(nb::borrow(item));
      submit_in(batch, id, span_of(args), by_rule);
    } else {
      PyObject* args[] = {item.ptr()};
      submit_in(batch, id, args, by_rule);
    }
    if (++count % kBreath != 0) continue;
    nb::gil_scoped_release others_have_a_turn;
    std::this_thread::yield();
  }
}

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

void PoolCore::add_function(nb::object function, nb::bytes payload) {
  auto name = nb::cast<std::string>(support_.attr("name_of")(function));
  pool::FunctionId id = pool_.add_function(copy_of(payload.ptr()), name);
  if (names_.size() <= id) names_.resize(id + std::size_t{1});
  names_[id] = function;
  functions_.emplace(function.ptr(), id);
}

bool PoolCore::knows(nb::handle function) const { return functions_.contains(function.ptr()); }

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

// --- settle

// The memory that came with an outcome, each block released when its last view is gone.
nb::list PoolCore::buffers_of(const nb::object& core, const pool::Outcome& outcome) {
  nb::list buffers;
  for (std::size_t i = outcome.spilled ? 1 : 0; i < outcome.blocks().size(); ++i) {
    shm::Block block = outcome.blocks()[i];
    auto release = [this, block, core] { pool_.release(block); };
    buffers.append(nb::cast(new ArenaBuffer(pool_.content(block), std::move(release)),
                            nb::rv_policy::take_ownership));
  }
  return buffers;
}

nb::object PoolCore::result_of(const nb::object& core, const pool::Outcome& outcome,
                               base::BytesView payload) {
  switch (static_cast<Form>(outcome.form)) {
    case Form::kNone:
      return nb::none();
    case Form::kPlainValue:
      return read_plain(payload);
    case Form::kPlain:
      return loads_(to_python(payload));
    default:
      return support_.attr("load_result")(to_python(payload), buffers_of(core, outcome));
  }
}

nb::object PoolCore::value_of(const nb::object& core, const pool::Outcome& outcome,
                              base::BytesView payload, bool& failed) {
  switch (outcome.kind) {
    case pool::OutcomeKind::kResult:
      return result_of(core, outcome, payload);
    case pool::OutcomeKind::kFailure:
      failed = true;
      return support_.attr("load_failure")(to_python(payload));
    case pool::OutcomeKind::kTimedOut: {
      failed = true;
      double seconds = std::chrono::duration<double>(outcome.death()->timeout).count();
      return support_.attr("timed_out")(name_of(outcome.function), outcome.death()->pid, seconds);
    }
    default:
      failed = true;
      return death_of(outcome, payload);
  }
}

nb::object PoolCore::name_of(std::uint32_t function) const {
  return function < names_.size() ? names_[function] : nb::none();
}

namespace {

// As procession.last_words takes it: a resource.struct_rusage's fields, last words, want of memory.
nb::object tuple_of(const pool::Circumstances& more) {
  const os::Usage& used = more.usage;
  nb::tuple usage =
      nb::make_tuple(used.user_seconds, used.system_seconds, used.max_rss_kib, 0, 0, 0,
                     used.minor_faults, used.major_faults, 0, used.blocks_in, used.blocks_out, 0, 0,
                     0, used.voluntary_switches, used.involuntary_switches);
  nb::bytes words(more.last_words.data(), more.last_words.size());
  return nb::make_tuple(usage, words, static_cast<int>(more.out_of_memory));
}

}  // namespace

nb::object PoolCore::death_of(const pool::Outcome& outcome, base::BytesView payload) {
  bool broken = outcome.kind == pool::OutcomeKind::kBroken;
  // Of many tasks that end at once, all share the text.
  if (broken && outcome.death() && !broken_by_.is_none()) {
    return support_.attr("broken_again")(broken_by_);
  }
  nb::object pid = nb::none();
  nb::object code = nb::none();
  nb::object more = nb::none();
  nb::object name = nb::none();
  if (outcome.death()) {
    pid = nb::int_(outcome.death()->pid);
    code = nb::int_(outcome.death()->status.value());
    // Somebody may have reaped it first, by its process object.
    if (outcome.death()->status == os::kStatusLost && processes_.contains(pid)) {
      code = processes_[pid].attr("exitcode");
    }
    if (outcome.death()->more) more = tuple_of(*outcome.death()->more);
    if (outcome.death()->function) name = nb::make_tuple(name_of(*outcome.death()->function));
  }
  nb::object error = support_.attr("death")(broken, pid, code, name, to_python(payload), more);
  if (broken && broken_by_.is_none()) broken_by_ = error;
  return error;
}

void PoolCore::finish_future(FutureObject& future, nb::object value, bool failed) {
  auto* self = reinterpret_cast<PyObject*>(&future);
  if (is_done(future)) return;
  if (nobody_waits(future)) {
    (failed ? future.exception : future.result) = value.release().ptr();
    future.state.store(FutureState::kFinished, std::memory_order_release);
  } else {
    static PyObject* const type = standard_future().release().ptr();
    nb::object set = nb::handle(type).attr(failed ? "set_exception" : "set_result");
    set(nb::handle(self), value);
  }
  Py_CLEAR(future.core_object);
  future.core = nullptr;
}

// What a task gave or, if `failed`, an exception; and its payload's block is released.
nb::object PoolCore::take_value(const nb::object& core, const pool::Outcome& outcome,
                                base::BytesView payload, bool& failed) {
  nb::object value;
  if (outcome.spilled) payload = pool_.content(outcome.blocks().front());
  try {
    value = value_of(core, outcome, payload, failed);
  } catch (nb::python_error& error) {
    failed = true;
    value = nb::borrow(error.value());
  }
  if (outcome.spilled) pool_.release(outcome.blocks().front());
  return value;
}

void PoolCore::settle_slot(Batch::Slot& slot, const pool::Outcome& outcome,
                           base::BytesView payload) {
  bool failed = false;
  nb::object core = slot.core();  // it may be the last that keeps this
  nb::object value = take_value(core, outcome, payload, failed);
  slot.settle(std::move(value), failed);
}

void PoolCore::settle_one(FutureObject& future, const pool::Outcome& outcome,
                          base::BytesView payload) {
  bool failed = false;
  nb::object self = nb::borrow(future.core_object);  // finish_future lets go of it
  nb::object value = take_value(self, outcome, payload, failed);
  if (future.condition || future.waiters || future.callbacks) --wanting_;
  if (wanting_ == 0 && pool_.wants_all()) pool_.want_all(false);
  finish_future(future, std::move(value), failed);
  Py_DECREF(&future);
}

// Messages are for the back as well: what they are given to may wait for whatever it likes. One after
// the other, as they were collected. Whether some are left for it.
bool PoolCore::deliver(pool::Outcomes& outcomes, bool at_back) {
  for (const pool::Message& message : outcomes.messages) {
    auto payload = base::BytesView(outcomes.bytes).subspan(message.begin, message.size);
    messages_.emplace_back(message, base::Bytes(payload.begin(), payload.end()));
  }
  outcomes.messages.clear();
  if (!at_back) return !messages_.empty();
  for (std::size_t left = messages_.size(); left > 0 && !messages_.empty(); --left) {
    auto [message, payload] = std::move(messages_.front());
    messages_.pop_front();
    try {
      nb::object task = nb::none();
      if (message.task != pool::kNoNumber) task = nb::int_(message.task);
      std::string name = pool_.name_of(message.function);
      support_.attr("deliver")(message.form, message.place, message.pid, task, name,
                               to_python(payload));
    } catch (nb::python_error& error) {
      error.restore();
      PyErr_WriteUnraisable(support_.ptr());
    }
    pool_.heard(message);
  }
  return false;
}

// Futures with callbacks are settled at the back only: whoever waits at the front may hold a lock that
// a callback wants.
void PoolCore::settle(pool::Outcomes& outcomes, bool at_back) {
  bool deferred = deliver(outcomes, at_back);
  losses_.insert(losses_.end(), outcomes.losses.begin(), outcomes.losses.end());
  for (const pool::Outcome& outcome : outcomes.ended) {
    auto payload = base::BytesView(outcomes.bytes).subspan(outcome.begin, outcome.size);
    if (Batch::Slot* slot = Batch::slot_of(outcome.future)) {
      settle_slot(*slot, outcome, payload);
      continue;
    }
    auto& future = *static_cast<FutureObject*>(outcome.future);
    if (!at_back && future.callbacks) {
      deferred_.ended.push_back(outcome);
      deferred_.ended.back().begin = deferred_.bytes.size();
      deferred_.bytes.insert(deferred_.bytes.end(), payload.begin(), payload.end());
      deferred = true;
      continue;
    }
    settle_one(future, outcome, payload);
  }
  if (!at_back && (deferred || !outcomes.losses.empty())) pool_.ring_back();
  if (at_back) pool_.ring_front_if_asleep();
  if (waiting_behind_ > 0) wake_behind();
}

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

}  // namespace procession::bindings
