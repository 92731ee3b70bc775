// SPDX-License-Identifier: Apache-2.0
#include "child_entry.hpp"

#include <nanobind/stl/string.h>

#include <cstring>
#include <vector>

#include "launch/life.hpp"
#include "launch/session.hpp"
#include "os/exec.hpp"
#include "os/process.hpp"
#include "sink.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

// What a pickled start is read from, in place: a file-like object over the received payload.
class Source {
 public:
  explicit Source(channel::Payload payload) : payload_(std::move(payload)) {}

  nb::bytes read(std::ptrdiff_t size) {
    base::BytesView taken = take(size < 0 ? left().size() : static_cast<std::size_t>(size));
    return nb::bytes(reinterpret_cast<const char*>(taken.data()), taken.size());
  }

  nb::bytes readline() {
    base::BytesView all = left();
    const void* end = std::memchr(all.data(), '\n', all.size());
    if (!end) return read(-1);
    return read(static_cast<const std::byte*>(end) - all.data() + 1);
  }

  std::size_t readinto(nb::handle buffer) {
    Py_buffer target;
    if (PyObject_GetBuffer(buffer.ptr(), &target, PyBUF_WRITABLE) != 0) throw nb::python_error();
    base::BytesView taken = take(static_cast<std::size_t>(target.len));
    std::memcpy(target.buf, taken.data(), taken.size());
    PyBuffer_Release(&target);
    return taken.size();
  }

 private:
  base::BytesView left() const noexcept { return payload_.bytes().subspan(at_); }

  base::BytesView take(std::size_t size) {
    base::BytesView taken = left().first(std::min(size, left().size()));
    at_ += taken.size();
    return taken;
  }

  channel::PayloadReader payload_;
  std::size_t at_ = 0;
};

nb::dict env_of(const os::Surroundings& surroundings) {
  nb::dict env;
  for (const std::string& entry : os::env_strings(surroundings)) {
    std::size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    env[nb::bytes(entry.data(), equals)] =
        nb::bytes(entry.data() + equals + 1, entry.size() - equals - 1);
  }
  return env;
}

void report(const launch::ToParent& to_parent, nb::handle failure) {
  BufferView view(failure);
  channel::PayloadWriter writer;
  writer.append(view.bytes());
  to_parent.report(writer.take());
}

// What ends a child outside of its process object's own care, e.g. sys.exit() in a hook.
int exit_code(const nb::module_& child, nb::python_error& error) {
  return nb::cast<int>(child.attr("exit_code_of")(error.value()));
}

// What the interpreter calls in children only would be looked up by name in each of them, where its
// program binds functions on first use: PyOS_AfterFork_Child deletes a key.
void bind_ahead() {
  Py_tss_t key{};
  if (PyThread_tss_create(&key) == 0) PyThread_tss_delete(&key);
}

// Of the interpreter's small objects, takes the room that others have left, of each size: blocks that
// begin a pool and go on in it mean that there was none in others (16 KiB, behind a header of 48 bytes:
// obmalloc.c since Python 3.10). Where there is no telling, nothing is kept.
void fill_gaps() {
  constexpr std::size_t kStep = 16, kLargest = 512, kMostBytes = std::size_t{1} << 20, kEnough = 8;
  constexpr std::uintptr_t kPoolMask = (1 << 14) - 1, kPoolHeader = 48;
  std::vector<void*> taken;
  for (std::size_t size = kStep; size <= kLargest; size += kStep) {
    taken.clear();
    std::uintptr_t before = 0;
    std::size_t in_order = 0;  // blocks, from the first of a pool
    while (in_order < kEnough && taken.size() * size < kMostBytes) {
      taken.push_back(PyObject_Malloc(size));
      auto block = reinterpret_cast<std::uintptr_t>(taken.back());
      bool goes_on = in_order > 0 && block == before + size;
      in_order = (block & kPoolMask) == kPoolHeader ? 1 : goes_on ? in_order + 1 : 0;
      before = block;
    }
    if (in_order == kEnough) taken.erase(taken.begin(), taken.end() - kEnough);
    for (void* block : taken) PyObject_Free(block);
  }
}

// Python's side of a child's life. The GIL is held throughout: nobody else runs yet.
class PythonEntry : public launch::Entry {
 public:
  explicit PythonEntry(nb::module_ child) : child_(std::move(child)) {}

  void configure(launch::Start start) override {
    bind_ahead();
    try {
      Source source(std::move(start.payload));
      child_.attr("prepare_zygote")(nb::cast(&source, nb::rv_policy::reference));
    } catch (nb::python_error& error) {
      exit_code(child_, error);
    }
  }

  int run(launch::Start start, bool new_env, const launch::ToParent& to_parent) override {
    int code = run_process(std::move(start), new_env, to_parent);
    launch::Session::instance().end_idle();
    return code;
  }

  int run_process(launch::Start start, bool new_env, const launch::ToParent& to_parent) {
    try {
      if (new_env) child_.attr("reload_environ")(env_of(start.surroundings));
      Source source(std::move(start.payload));
      nb::list fds;
      for (os::Fd& fd : start.fds) fds.append(fd.release());
      nb::object code = child_.attr("run")(nb::cast(&source, nb::rv_policy::reference), fds,
                                           start.parent_pidfd.release(),
                                           nb::cast(&to_parent, nb::rv_policy::reference));
      return nb::cast<int>(code);
    } catch (nb::python_error& error) {
      return exit_code(child_, error);
    }
  }

  void refuse(const launch::Start& start, const char* why,
              const launch::ToParent& to_parent) override {
    try {
      auto failure = nb::cast<nb::bytes>(child_.attr("refuse")(start.name, why));
      report(to_parent, failure);
    } catch (nb::python_error& error) {
      exit_code(child_, error);
    }
  }

  void before_fork() override { PyOS_BeforeFork(); }
  void after_fork(bool in_child) override {
    in_child ? PyOS_AfterFork_Child() : PyOS_AfterFork_Parent();
  }

  void warm_up() override {
    try {
      child_.attr("warm_up")();
    } catch (nb::python_error& error) {
      exit_code(child_, error);
    }
  }

  bool rehearse() override {
    try {
      // Else it would import main, once more than there are processes.
      auto spawn = nb::module_::import_("procession.spawn");
      if (!nb::cast<bool>(spawn.attr("zygote_is_prepared"))) return false;
      auto record = nb::cast<nb::bytes>(child_.attr("rehearsed"));
      channel::Payload payload;
      const auto* begin = reinterpret_cast<const std::byte*>(record.c_str());
      payload.inline_bytes.assign(begin, begin + record.size());
      warm_up();
      launch::Start start = launch::Rehearsal(payload).start();
      start.fds.emplace_back();  // the resource tracker's
      os::Fd nobody;
      return run(std::move(start), false, launch::ToParent(nobody)) == 0;
    } catch (nb::python_error&) {
      return false;
    }
  }

 private:
  nb::module_ child_;
};

void child_main() {
  PythonEntry entry(nb::module_::import_("procession._child"));
  launch::live(os::Fd(os::kInheritedSocket), entry);
}

}  // namespace

void live_forked(launch::Forked forked, const nb::callable& in_child) {
  launch::ToParent to_parent(forked.socket);
  int code = 1;
  try {
    code = nb::cast<int>(
        in_child(forked.parent_pidfd.release(), nb::cast(&to_parent, nb::rv_policy::reference)));
  } catch (nb::python_error& error) {
    code = exit_code(nb::module_::import_("procession._child"), error);
  }
  launch::Session::instance().end_idle();
  os::exit_now(code);
}

void bind_child_entry(nb::module_& module) {
  nb::class_<Source>(module, "Source", "A start's payload, as a file to unpickle from.")
      .def("read", &Source::read, "size"_a = -1)
      .def("readline", &Source::readline)
      .def("readinto", &Source::readinto, "buffer"_a);
  nb::class_<launch::ToParent>(module, "ToParent", "A child's line to its parent.")
      .def("report", &report, "failure"_a);
  module.def("fill_gaps", &fill_gaps,
             "In a zygote: leave no room between the interpreter's small objects.");
  module.def("child_main", &child_main,
             "The whole life of a process that procession has executed.");
}

}  // namespace procession::bindings
