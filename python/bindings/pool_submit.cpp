// SPDX-License-Identifier: Apache-2.0
// bindings/pool_submit: how the calls of a PoolCore go in.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <thread>

#include "batch.hpp"
#include "plain.hpp"
#include "pool_core.hpp"
#include "sink.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

// Objects that `is_plain` looks at before it leaves the rest to the pickler that knows the rule.
constexpr int kPlainBudget = 64;
constexpr std::size_t kBreath = 4096;  // calls that a map() submits without giving up the GIL

constexpr std::size_t kMostLabels = 10'000;

base::BytesView bytes_of(PyObject* bytes) {
  return std::as_bytes(
      std::span(PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))));
}

std::span<PyObject* const> span_of(const nb::tuple& tuple) {
  return {&PyTuple_GET_ITEM(tuple.ptr(), 0), tuple.size()};
}

}  // namespace

void PoolCore::add_function(nb::object function, nb::bytes payload) {
  base::BytesView view = bytes_of(payload.ptr());
  auto name = nb::cast<std::string>(support_.attr("name_of")(function));
  pool::FunctionId id = pool_.add_function({view.begin(), view.end()}, name);
  if (names_.size() <= id) names_.resize(id + std::size_t{1});
  names_[id] = function;
  functions_.emplace(function.ptr(), id);
}

bool PoolCore::knows(nb::handle function) const { return functions_.contains(function.ptr()); }

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

}  // namespace procession::bindings
