// SPDX-License-Identifier: Apache-2.0
// bindings/pool_settle: how what became of the calls of a PoolCore comes out.
#include <nanobind/stl/string.h>

#include <chrono>

#include "arena_buffer.hpp"
#include "batch.hpp"
#include "plain.hpp"
#include "pool_core.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

nb::bytes to_python(base::BytesView bytes) {
  return nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

nb::object standard_future() {
  return nb::module_::import_("concurrent.futures._base").attr("Future");
}

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

}  // namespace procession::bindings
