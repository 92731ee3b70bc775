// SPDX-License-Identifier: Apache-2.0
#include "synchronize.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "shm/condition.hpp"
#include "shm/event.hpp"
#include "shm/sem_lock.hpp"
#include "shm/shared_bytes.hpp"
#include "wait.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

nb::tuple to_python(const shm::CellName& name) {
  return nb::make_tuple(name.session, name.offset, name.generation);
}

shm::CellName cell_name(const nb::tuple& name) {
  return {nb::cast<std::uint64_t>(name[0]), nb::cast<std::uint64_t>(name[1]),
          nb::cast<std::uint32_t>(name[2])};
}

namespace {

const auto kNothing = [] {};
const base::Deadline kNow = deadline_of(false, {});
const std::optional<double> kForEver;

// Whoever held it has died. The warning may be an error, if the program wants it so: it hasn't acquired
// anything then.
void tell_of_death(shm::SemLock& lock) {
  const char* what =
      lock.kind() == shm::SemLock::Kind::kSemaphore
          ? "a process ended while it held a part of this semaphore; it is free again"
          : "the process that held this lock ended without releasing it; what the lock "
            "guards may be half changed";
  nb::object category = nb::module_::import_("procession.synchronize").attr("OwnerDied");
  if (PyErr_WarnEx(category.ptr(), what, 1) != 0) {
    lock.release();
    throw nb::python_error();
  }
}

bool acquire(shm::SemLock& lock, bool block, const std::optional<double>& timeout) {
  shm::Acquired acquired = lock.acquire(kNow);
  if (acquired == shm::Acquired::kYes) return true;
  if (acquired == shm::Acquired::kTimedOut && block && (!timeout || *timeout > 0)) {
    base::Deadline deadline = deadline_of(true, timeout);
    acquired = wait_with_signals([&] { return lock.acquire(deadline); },
                                 shm::Acquired::kInterrupted, kNothing);
  }
  if (acquired == shm::Acquired::kOwnerDied) tell_of_death(lock);
  return acquired != shm::Acquired::kTimedOut && acquired != shm::Acquired::kInterrupted;
}

void release(shm::SemLock& lock) {
  if (lock.release()) return;
  if (lock.kind() == shm::SemLock::Kind::kRecursive) {
    PyErr_SetString(PyExc_AssertionError, "attempt to release recursive lock not owned by thread");
  } else {
    PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
  }
  throw nb::python_error();
}

// The methods that a loop calls most are CPython's own kind: with nanobind's, a turn with a lock takes
// twice as long.
template <class Function>
PyObject* guarded(PyObject* self, Function function) noexcept {
  auto& lock = *nb::inst_ptr<shm::SemLock>(self);
  if (!lock.cell()) {  // the memory of a new instance is zero
    PyErr_SetString(PyExc_RuntimeError, "this lock's __init__() was never called");
    return nullptr;
  }
  try {
    return function(lock);
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const base::OsError& error) {
    nb::object arguments = nb::make_tuple(error.error_number(), error.what());
    PyErr_SetObject(PyExc_OSError, arguments.ptr());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// Nothing if they aren't acquire()'s.
std::optional<std::pair<bool, std::optional<double>>> acquire_arguments(PyObject* const* args,
                                                                        Py_ssize_t count,
                                                                        PyObject* names) {
  std::array<PyObject*, 2> given{};  // block, timeout
  Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  if (count > 2) {
    PyErr_SetString(PyExc_TypeError, "acquire() takes at most 2 arguments: block and timeout");
    return std::nullopt;
  }
  std::copy_n(args, count, given.begin());
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    std::size_t place = PyUnicode_CompareWithASCIIString(name, "block") == 0     ? 0
                        : PyUnicode_CompareWithASCIIString(name, "timeout") == 0 ? 1
                                                                                 : 2;
    if (place == 2 || given[place]) {
      PyErr_Format(PyExc_TypeError, "acquire() got an unexpected keyword argument %R", name);
      return std::nullopt;
    }
    given[place] = args[count + i];
  }
  int block = given[0] ? PyObject_IsTrue(given[0]) : 1;
  std::optional<double> timeout;
  if (given[1] && given[1] != Py_None) timeout = PyFloat_AsDouble(given[1]);
  if (PyErr_Occurred()) return std::nullopt;
  return std::pair(block != 0, timeout);
}

PyObject* acquire_method(PyObject* self, PyObject* const* args, Py_ssize_t count,
                         PyObject* names) noexcept {
  return guarded(self, [&](shm::SemLock& lock) -> PyObject* {
    if (count == 0 && !names) return PyBool_FromLong(acquire(lock, true, kForEver));
    auto given = acquire_arguments(args, count, names);
    return given ? PyBool_FromLong(acquire(lock, given->first, given->second)) : nullptr;
  });
}

PyObject* release_method(PyObject* self, PyObject*) noexcept {
  return guarded(self, [](shm::SemLock& lock) {
    release(lock);
    return Py_NewRef(Py_None);
  });
}

PyObject* enter_method(PyObject* self, PyObject*) noexcept {
  return guarded(self,
                 [](shm::SemLock& lock) { return PyBool_FromLong(acquire(lock, true, kForEver)); });
}

PyObject* exit_method(PyObject* self, PyObject* const*, Py_ssize_t) noexcept {
  return release_method(self, nullptr);
}

PyMethodDef lock_methods[] = {
    {"acquire", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&acquire_method)),
     METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, /, block=True, timeout=None)\n--\n\nAcquire it, waiting at most `timeout` "
     "seconds; whether it was acquired."},
    {"release", &release_method, METH_NOARGS,
     "release($self, /)\n--\n\nRelease it; ValueError if it wasn't acquired."},
    {"__enter__", &enter_method, METH_NOARGS, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&exit_method)),
     METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot lock_slots[] = {{Py_tp_methods, lock_methods}, {0, nullptr}};

// Whether it was notified.
bool wait(shm::Condition& condition, int seat, std::optional<double> timeout) {
  base::Deadline deadline = deadline_of(true, timeout);
  return wait_with_signals([&] { return condition.wait(seat, deadline); },
                           shm::Condition::Told::kInterrupted,
                           [&] { condition.leave(seat); }) == shm::Condition::Told::kYes;
}

// The same, or None: another process that waited has ended.
std::optional<bool> wait_with_peers(shm::Condition& condition, int seat,
                                    std::optional<double> timeout) {
  base::Deadline deadline = deadline_of(true, timeout);
  shm::Condition::Told told =
      wait_with_signals([&] { return condition.wait(seat, deadline, true); },
                        shm::Condition::Told::kInterrupted, [&] { condition.leave(seat); });
  if (told != shm::Condition::Told::kPeerDied) return told == shm::Condition::Told::kYes;
  condition.leave(seat);
  return std::nullopt;
}

bool wait_for_event(shm::Event& event, std::optional<double> timeout) {
  if (event.is_set()) return true;
  base::Deadline deadline = deadline_of(true, timeout);
  return wait_with_signals([&] { return event.wait(deadline); }, base::Waited::kInterrupted,
                           kNothing) == base::Waited::kReady;
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  std::span<std::byte> bytes = nb::inst_ptr<shm::SharedBytes>(self)->bytes();
  return PyBuffer_FillInfo(view, self, bytes.data(), static_cast<Py_ssize_t>(bytes.size()), 0,
                           flags);
}

PyType_Slot buffer_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)},
                              {0, nullptr}};

// What all of them have: a name by which they travel.
template <class Type>
nb::class_<Type>& with_name(nb::class_<Type>& type) {
  return type.def("__getstate__", [](const Type& self) { return to_python(self.cell()->name()); })
      .def("__setstate__",
           [](Type& self, const nb::tuple& name) { new (&self) Type(cell_name(name)); })
      .def(
          "keep", [](const Type& self) { self.cell()->keep(); },
          "Have it stay until the session ends, since its name is on its way to somebody.");
}

}  // namespace

void bind_synchronize(nb::module_& module) {
  using Kind = shm::SemLock::Kind;
  nb::class_<shm::SemLock> sem_lock(
      module, "SemLock", nb::type_slots(lock_slots),
      "A lock or semaphore between processes that knows who holds it.");
  with_name(sem_lock)
      .def(
          "__init__",
          [](shm::SemLock& self, int kind, std::uint32_t value, std::uint32_t max_value) {
            new (&self) shm::SemLock(static_cast<Kind>(kind), value, max_value);
          },
          "kind"_a, "value"_a, "maxvalue"_a)
      .def(nb::init<const shm::SemLock&>(), "Another handle of the same.")
      .def("_count", &shm::SemLock::count)
      .def("_is_mine", &shm::SemLock::is_mine)
      .def("_get_value", &shm::SemLock::value)
      .def("_is_zero", [](const shm::SemLock& self) { return self.value() == 0; })
      .def_prop_ro("kind", [](const shm::SemLock& self) { return static_cast<int>(self.kind()); })
      .def_prop_ro("maxvalue", &shm::SemLock::max_value)
      .def_prop_ro("owner", &shm::SemLock::owner, "The pid of the process that holds it, or 0.");

  nb::class_<shm::Condition> condition(module, "Condition",
                                       "Those who wait for a condition variable.");
  with_name(condition)
      .def(nb::init<>())
      .def("enter", &shm::Condition::enter, "Take a seat; with the lock held.")
      .def("wait", &wait, "seat"_a, "timeout"_a.none(), "Wait in it; whether it was notified.")
      .def("wait_with_peers", &wait_with_peers, "seat"_a, "timeout"_a.none(),
           "The same, or None when another process that waits has ended.")
      .def("notify", &shm::Condition::notify, "count"_a)
      .def("waiting", &shm::Condition::waiting, "How many wait.");

  nb::class_<shm::Event> event(module, "Event", "A flag that processes wait for.");
  with_name(event)
      .def(nb::init<>())
      .def("is_set", &shm::Event::is_set)
      .def("set", &shm::Event::set)
      .def("clear", &shm::Event::clear)
      .def("wait", &wait_for_event, "timeout"_a.none() = nb::none());

  nb::class_<shm::SharedBytes> bytes(module, "SharedBytes", nb::type_slots(buffer_slots),
                                     "Memory that processes share, zero at first; a buffer.");
  with_name(bytes).def(nb::init<std::size_t>(), "size"_a);

  module.def(
      "commons_usage",
      [] {
        shm::Commons::Usage usage = shm::Commons::instance().usage();
        return nb::make_tuple(usage.processes, usage.cells, usage.arena.in_use, usage.arena.warm);
      },
      "What the session's memory holds: processes, cells, bytes in blocks, bytes kept warm.");
  module.def(
      "sweep_commons",
      [] {
        if (shm::Commons::exists()) shm::Commons::instance().sweep();
      },
      "Release what processes that have ended had in the session's memory.");
}

}  // namespace procession::bindings
