// SPDX-License-Identifier: Apache-2.0
#include "future.hpp"

#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>

#include "heap_type.hpp"
#include "pool_core.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

constexpr const char* kNames[] = {"PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED",
                                  "FINISHED"};

FutureObject& future_of(PyObject* self) { return *reinterpret_cast<FutureObject*>(self); }

// An attribute of the module concurrent.futures._base, borrowed for ever.
PyObject* standard(const char* name) {
  static PyObject* const module = PyImport_ImportModule("concurrent.futures._base");
  return module ? PyObject_GetAttrString(module, name) : nullptr;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  FutureObject& future = future_of(self);
  Py_VISIT(future.core_object);
  Py_VISIT(future.result);
  Py_VISIT(future.exception);
  Py_VISIT(future.condition);
  Py_VISIT(future.waiters);
  Py_VISIT(future.callbacks);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int clear(PyObject* self) {
  FutureObject& future = future_of(self);
  Py_CLEAR(future.core_object);
  Py_CLEAR(future.result);
  Py_CLEAR(future.exception);
  Py_CLEAR(future.condition);
  Py_CLEAR(future.waiters);
  Py_CLEAR(future.callbacks);
  return 0;
}

void dealloc(PyObject* self) { dealloc_collected(self, clear); }

int init(PyObject*, PyObject*, PyObject*) { return 0; }

// --- what the standard's methods read and write

PyObject* get_state(PyObject* self, void*) {
  FutureObject& future = future_of(self);
  FutureState state = future.state.load();
  if (state == FutureState::kPending && future.core && future.core->is_running(future)) {
    state = FutureState::kRunning;
  }
  return PyUnicode_InternFromString(kNames[static_cast<std::size_t>(state)]);
}

int set_state(PyObject* self, PyObject* value, void*) {
  const char* name = value ? PyUnicode_AsUTF8(value) : nullptr;
  if (!name) return -1;
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (std::strcmp(name, kNames[i]) != 0) continue;
    future_of(self).state.store(static_cast<FutureState>(i), std::memory_order_release);
    return 0;
  }
  PyErr_Format(PyExc_ValueError, "no state of a future: %R", value);
  return -1;
}

template <PyObject* FutureObject::*field>
PyObject* get_value(PyObject* self, void*) {
  PyObject* value = future_of(self).*field;
  return Py_NewRef(value ? value : Py_None);
}

template <PyObject* FutureObject::*field>
int set_value(PyObject* self, PyObject* value, void*) {
  Py_XSETREF(future_of(self).*field, Py_XNewRef(value));
  return 0;
}

// Somebody wants to be told of the end: from now on results are looked at as they come.
void want_news(FutureObject& future) {
  if (future.core && !is_done(future)) future.core->want_all(future);
}

PyObject* get_condition(PyObject* self, void*) {
  FutureObject& future = future_of(self);
  if (!future.condition) {
    static PyObject* const make = [] {
      PyObject* threading = PyImport_ImportModule("threading");
      return threading ? PyObject_GetAttrString(threading, "Condition") : nullptr;
    }();
    if (!make) return nullptr;
    future.condition = PyObject_CallNoArgs(make);
    if (!future.condition) return nullptr;
    want_news(future);
  }
  return Py_NewRef(future.condition);
}

template <PyObject* FutureObject::*field>
PyObject* get_list(PyObject* self, void*) {
  FutureObject& future = future_of(self);
  if (!(future.*field)) {
    future.*field = PyList_New(0);
    if (!(future.*field)) return nullptr;
    want_news(future);
  }
  return Py_NewRef(future.*field);
}

// --- methods

PyObject* raise(PyObject* exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
  return nullptr;
}

// Waits for the end; false with an exception set.
bool await(FutureObject& future, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  PyObject* timeout = Py_None;
  Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  if (count + named > 1) {
    PyErr_SetString(PyExc_TypeError, "expected at most one argument, timeout");
    return false;
  }
  if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0) {
    PyErr_Format(PyExc_TypeError, "unexpected keyword argument %R", PyTuple_GET_ITEM(names, 0));
    return false;
  }
  if (count + named == 1) timeout = args[0];
  if (is_done(future)) return true;
  auto deadline = base::Deadline::never();
  if (timeout != Py_None) {
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) return false;
    deadline = base::Deadline::after(std::chrono::duration<double>(seconds));
  }
  if (!future.core) return false;
  try {
    if (future.core->wait_for(future, deadline)) return true;
  } catch (nb::python_error& error) {
    error.restore();
    return false;
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return false;
  }
  PyErr_SetNone(PyExc_TimeoutError);
  return false;
}

bool check_cancelled(const FutureObject& future) {
  FutureState state = future.state.load();
  if (state != FutureState::kCancelled && state != FutureState::kNotified) return false;
  static PyObject* const type = standard("CancelledError");
  PyErr_SetNone(type ? type : PyExc_RuntimeError);
  return true;
}

PyObject* result(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  FutureObject& future = future_of(self);
  if (!await(future, args, count, names) || check_cancelled(future)) return nullptr;
  if (future.exception && future.exception != Py_None) return raise(future.exception);
  return Py_NewRef(future.result ? future.result : Py_None);
}

PyObject* exception(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  FutureObject& future = future_of(self);
  if (!await(future, args, count, names) || check_cancelled(future)) return nullptr;
  return Py_NewRef(future.exception ? future.exception : Py_None);
}

PyObject* done(PyObject* self, PyObject*) {
  FutureObject& future = future_of(self);
  if (!is_done(future) && future.core) {
    try {
      future.core->look();
    } catch (nb::python_error& error) {
      error.restore();
      return nullptr;
    }
  }
  return PyBool_FromLong(is_done(future));
}

PyObject* running(PyObject* self, PyObject*) {
  FutureObject& future = future_of(self);
  FutureState state = future.state.load();
  bool is_running =
      state == FutureState::kRunning ||
      (state == FutureState::kPending && future.core && future.core->is_running(future));
  return PyBool_FromLong(is_running);
}

PyObject* cancelled(PyObject* self, PyObject*) {
  FutureState state = future_of(self).state.load();
  return PyBool_FromLong(state == FutureState::kCancelled || state == FutureState::kNotified);
}

// Whether the pool gave the task back: no worker has had it, or with a true argument it was stopped.
PyObject* take_back(PyObject* self, PyObject* running) {
  FutureObject& future = future_of(self);
  bool given = !is_done(future) && future.core &&
               future.core->take_back(future, PyObject_IsTrue(running) == 1);
  return PyBool_FromLong(given);
}

PyObject* wake(PyObject* self, PyObject*) {
  FutureObject& future = future_of(self);
  if (future.core) future.core->wake_all();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"result", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&result)),
     METH_FASTCALL | METH_KEYWORDS, "Wait for the task's end; return its result, or raise."},
    {"exception", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&exception)),
     METH_FASTCALL | METH_KEYWORDS, "Wait for the task's end; return what it raised, or None."},
    {"done", &done, METH_NOARGS, "Whether it has ended or was cancelled."},
    {"running", &running, METH_NOARGS, "Whether a worker has been given it."},
    {"cancelled", &cancelled, METH_NOARGS, "Whether it was cancelled."},
    {"_take_back", &take_back, METH_O,
     "Take the task back, if no worker has been given it; if true, whether or not."},
    {"_wake", &wake, METH_NOARGS, "Have threads that wait for it look again."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef attributes[] = {
    {"_state", &get_state, &set_state, nullptr, nullptr},
    {"_result", &get_value<&FutureObject::result>, &set_value<&FutureObject::result>, nullptr,
     nullptr},
    {"_exception", &get_value<&FutureObject::exception>, &set_value<&FutureObject::exception>,
     nullptr, nullptr},
    {"_condition", &get_condition, &set_value<&FutureObject::condition>, nullptr, nullptr},
    {"_waiters", &get_list<&FutureObject::waiters>, &set_value<&FutureObject::waiters>, nullptr,
     nullptr},
    {"_done_callbacks", &get_list<&FutureObject::callbacks>, &set_value<&FutureObject::callbacks>,
     nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A future's fields; procession.executor makes a Future of it.")},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
    {Py_tp_init, reinterpret_cast<void*>(&init)},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, nullptr}};

PyType_Spec spec = {"procession._engine.FutureBase", sizeof(FutureObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

void bind_future(nb::module_& module) { add_heap_type(module, "FutureBase", spec); }

}  // namespace procession::bindings
