// SPDX-License-Identifier: Apache-2.0
#include "pool_worker.hpp"

#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "arena_buffer.hpp"
#include "base/error.hpp"
#include "os/fd.hpp"
#include "os/process.hpp"
#include "plain.hpp"
#include "pool/events.hpp"
#include "pool/worker.hpp"
#include "pool_core.hpp"
#include "sink.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

constexpr int kPlainBudget = 64;

nb::bytes to_python(base::BytesView bytes) {
  return nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

base::BytesView bytes_of(nb::handle bytes) {
  return std::as_bytes(std::span(PyBytes_AS_STRING(bytes.ptr()),
                                 static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))));
}

// The work stage with Python objects: pool::Worker's calls made, results and exceptions pickled.
class PoolWorker {
 public:
  PoolWorker(const std::vector<int>& fds, std::uint32_t place)
      : worker_(os::duplicate(fds.at(0)), place, os::duplicate(fds.at(1)), os::duplicate(fds.at(2)),
                os::duplicate(fds.at(3))),
        support_(nb::module_::import_("procession.worker")) {
    nb::module_ pickle = nb::module_::import_("_pickle");
    dumps_ = pickle.attr("dumps");
    loads_ = pickle.attr("loads");
  }

  void cant_begin(nb::bytes failure) {
    worker_.reply({pool::kNoTask, pool::ResultKind::kCantBegin}, bytes_of(failure));
  }

  void say(nb::handle text) { worker_.say(BufferView(text).bytes()); }
  int crash_fd() const { return worker_.crash_file().release(); }
  void note_oom_counter() { worker_.note_oom_counter(); }

  void run() {
    if (!std::exchange(said_ready_, true)) worker_.say_ready();
    PyThreadState* state = nullptr;
    const std::function<void(bool)> on_sleep = [&](bool begins) {
      if (begins) {
        state = PyEval_SaveThread();
      } else {
        PyEval_RestoreThread(state);
      }
    };
    // An idle worker has nothing that an interrupt could end; the parent decides.
    const std::function<void()> on_interrupt = [] {
      if (PyErr_CheckSignals() != 0) PyErr_Clear();
    };
    pool::Call call;
    while (worker_.next(call, on_sleep, on_interrupt)) {
      if (call.header.kind == pool::CallKind::kFunction) {
        learn(call);
      } else {
        work(call);
      }
    }
    has_ended_ = true;
  }

  void tell(std::uint32_t form, nb::bytes payload) {
    if (os::current_pid() != pid_) return;  // a forked child: the ring is not its to write to
    pool::ResultHeader header{current_};
    header.form = static_cast<std::uint16_t>(form);
    worker_.tell(header, bytes_of(payload));
  }

  void set_on_call_end(nb::object function) { on_call_end_ = std::move(function); }

  bool has_ended() const noexcept { return has_ended_; }

 private:
  // A block that came with a call: the parent's, unless something still views it after the call.
  struct View {
    shm::Block block;
    bool gone = false;
    bool kept = false;
  };

  void learn(const pool::Call& call) {
    if (functions_.size() <= call.header.function) functions_.resize(call.header.function + 1);
    functions_[call.header.function] = to_python(call.payload);
  }

  // A function is loaded when it is first called: what that raises belongs to a call.
  nb::handle function(pool::FunctionId id) {
    nb::object& known = functions_.at(id);
    if (PyBytes_CheckExact(known.ptr())) known = support_.attr("load_function")(known);
    return known;
  }

  nb::object called(const pool::Call& call, std::vector<std::shared_ptr<View>>& views) {
    auto form = static_cast<Form>(call.header.form);
    if (form == Form::kPlainArgs) return called_plainly(call);
    nb::bytes payload = to_python(call.payload);
    if (form == Form::kAnything) return support_.attr("call")(payload, views_of(call, views));
    nb::handle target = function(call.header.function);
    nb::object loaded = loads_(payload);
    PyObject* result = nullptr;
    if (form == Form::kArgs) {
      result = PyObject_Call(target.ptr(), loaded.ptr(), nullptr);
    } else {
      nb::object args = loaded[0];
      nb::object keywords = loaded[1];
      result = PyObject_Call(target.ptr(), args.ptr(), keywords.ptr());
    }
    if (!result) throw nb::python_error();
    return nb::steal(result);
  }

  nb::object called_plainly(const pool::Call& call) {
    std::array<nb::object, kMostPlainArgs> args;
    PyObject* pointers[kMostPlainArgs + 1];  // the callee may use the place ahead of them
    base::BytesView rest = call.payload.subspan(1);
    std::size_t count = std::min(kMostPlainArgs, static_cast<std::size_t>(call.payload.front()));
    for (std::size_t i = 0; i < count; ++i) {
      args[i] = read_plain(rest);
      pointers[i + 1] = args[i].ptr();
    }
    PyObject* result = PyObject_Vectorcall(function(call.header.function).ptr(), pointers + 1,
                                           count | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
    if (!result) throw nb::python_error();
    return nb::steal(result);
  }

  void work(const pool::Call& call) {
    pool::ResultHeader header{call.header.task};
    header.began = pool::now_ns();
    current_ = call.header.task;
    nb::object payload;
    plain_.clear();
    std::vector<shm::Block> blocks;
    std::vector<std::shared_ptr<View>> views;
    try {
      nb::object result = called(call, views);
      header.form = static_cast<std::uint16_t>(Form::kNone);
      if (!result.is_none()) payload = dumped(result, header, blocks);
    } catch (nb::python_error& error) {
      payload.reset();
      fail(error.value(), header, payload);
    } catch (const base::OsError& error) {
      for (shm::Block block : blocks) worker_.arena().release(block.offset);
      blocks.clear();
      fail(nb::handle(PyExc_MemoryError)(error.what()), header, payload);
    }
    keep_viewed(views, header);
    if (on_call_end_.is_valid()) end_call();
    header.nanoseconds = pool::now_ns() - header.began;
    current_ = pool::kNoTask;
    base::BytesView bytes = payload.is_valid() ? bytes_of(payload) : base::BytesView(plain_);
    worker_.reply(header, bytes, std::move(blocks));
  }

  void end_call() {
    try {
      on_call_end_();
    } catch (nb::python_error& error) {
      error.discard_as_unraisable(on_call_end_);
    }
  }

  // A call that was begun is answered, however often Ctrl-C comes.
  void fail(nb::handle error, pool::ResultHeader& header, nb::object& payload) {
    header.kind = pool::ResultKind::kFailure;
    while (!payload.is_valid()) {
      try {
        payload = support_.attr("dump_failure")(error);
      } catch (nb::python_error& again) {
        if (!again.matches(PyExc_KeyboardInterrupt)) throw;
      }
    }
  }

  nb::list views_of(const pool::Call& call, std::vector<std::shared_ptr<View>>& views) {
    nb::list buffers;
    for (shm::Block block : call.blocks) {
      auto view = std::make_shared<View>(View{block});
      views.push_back(view);
      auto release = [this, view] {
        view->gone = true;
        if (view->kept) worker_.arena().release(view->block.offset);
      };
      buffers.append(nb::cast(new ArenaBuffer(worker_.arena().bytes(block), std::move(release)),
                              nb::rv_policy::take_ownership));
    }
    return buffers;
  }

  void keep_viewed(const std::vector<std::shared_ptr<View>>& views, pool::ResultHeader& header) {
    for (std::size_t i = 0; i < views.size(); ++i) {
      if (views[i]->gone || i >= 64) continue;
      views[i]->kept = true;
      worker_.keep(views[i]->block);
      header.kept |= std::uint64_t{1} << i;
    }
  }

  // Or nothing, if it is in `plain_`.
  nb::object dumped(nb::handle result, pool::ResultHeader& header,
                    std::vector<shm::Block>& blocks) {
    int budget = kPlainBudget;
    if (write_plain(result.ptr(), budget, plain_)) {
      header.form = static_cast<std::uint16_t>(Form::kPlainValue);
      return {};
    }
    budget = kPlainBudget;
    if (is_plain(result.ptr(), budget)) {
      header.form = static_cast<std::uint16_t>(Form::kPlain);
      return dumps_(result, 5);
    }
    header.form = static_cast<std::uint16_t>(Form::kObject);
    nb::object parts = support_.attr("dump_result")(result);
    for (nb::handle buffer : nb::borrow<nb::list>(parts[1])) {
      BufferView view(buffer);
      blocks.push_back(worker_.arena().allocate(view.bytes().size()));
      shm::copy(worker_.arena().bytes(blocks.back()), view.bytes());
    }
    return parts[0];
  }

  pool::Worker worker_;
  const int pid_ = os::current_pid();
  pool::TaskId current_ = pool::kNoTask;
  base::Bytes plain_;  // a result that needs no pickler
  nb::object on_call_end_;
  bool said_ready_ = false;
  bool has_ended_ = false;
  nb::object support_;
  nb::object dumps_;
  nb::object loads_;
  std::vector<nb::object> functions_;
};

}  // namespace

void bind_pool_worker(nb::module_& module) {
  nb::class_<PoolWorker>(module, "PoolWorker", "A worker process's side of a pool.")
      .def(nb::init<const std::vector<int>&, std::uint32_t>(), "fds"_a, "place"_a)
      .def("cant_begin", &PoolWorker::cant_begin, "failure"_a,
           "Tell the parent that the initializer failed.")
      .def("tell", &PoolWorker::tell, "form"_a, "payload"_a,
           "Have the parent's `deliver` called with these.")
      .def("on_call_end", &PoolWorker::set_on_call_end, "function"_a,
           "Have it called after each call, ahead of the answer.")
      .def("say", &PoolWorker::say, "text"_a, "Keep it for the case of this process's death.")
      .def("crash_fd", &PoolWorker::crash_fd,
           "A new descriptor to write to when this process crashes, or -1.")
      .def("note_oom_counter", &PoolWorker::note_oom_counter,
           "Look again in which cgroup this process is.")
      .def("run", &PoolWorker::run, "Work until the parent says stop.")
      .def_prop_ro("has_ended", &PoolWorker::has_ended, "Whether the parent has said so.");
}

}  // namespace procession::bindings
