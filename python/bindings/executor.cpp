// SPDX-License-Identifier: Apache-2.0
#include "executor.hpp"

#include <structmember.h>

#include <cstddef>
#include <new>
#include <span>

#include "heap_type.hpp"
#include "os/process.hpp"
#include "os_error.hpp"
#include "pool_core.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

// An instance of procession._engine.ExecutorBase. Where all has been asleep for a while, each line of
// Python on the way of a task costs microseconds.
struct ExecutorObject {
  PyObject_HEAD PyObject* core_object;
  PoolCore* core;  // its
  int pid;         // of the process that made it
  char may_grow;
};

ExecutorObject& executor_of(PyObject* self) { return *reinterpret_cast<ExecutorObject*>(self); }

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(executor_of(self).core_object);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int clear(PyObject* self) {
  executor_of(self).core = nullptr;
  Py_CLEAR(executor_of(self).core_object);
  return 0;
}

void dealloc(PyObject* self) { dealloc_collected(self, clear); }

PyObject* get_core(PyObject* self, void*) {
  PyObject* core = executor_of(self).core_object;
  if (!core) PyErr_SetString(PyExc_AttributeError, "_core");
  return Py_XNewRef(core);
}

int set_core(PyObject* self, PyObject* value, void*) {
  PoolCore* core = nullptr;
  if (!value || !nb::try_cast(nb::handle(value), core)) {
    PyErr_SetString(PyExc_TypeError, "_core is a PoolCore");
    return -1;
  }
  executor_of(self).core = core;
  Py_XSETREF(executor_of(self).core_object, Py_NewRef(value));
  return 0;
}

// All that is not as usual is Python's.
nb::object submit_slowly(PyObject* self, std::span<PyObject* const> args, PyObject* names) {
  std::size_t named = names ? static_cast<std::size_t>(PyTuple_GET_SIZE(names)) : 0;
  std::size_t unnamed = args.size() - named;
  nb::list positional;
  for (PyObject* arg : args.first(unnamed).subspan(1)) positional.append(nb::handle(arg));
  nb::dict keywords;
  for (std::size_t i = 0; i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, static_cast<Py_ssize_t>(i));
    keywords[nb::handle(name)] = nb::handle(args[unnamed + i]);
  }
  return nb::handle(self).attr("_submit_slowly")(nb::handle(args.front()), nb::tuple(positional),
                                                 keywords);
}

nb::object submit_one(PyObject* self, std::span<PyObject* const> args, PyObject* names) {
  ExecutorObject& executor = executor_of(self);
  nb::object future;
  if (!names && executor.core && executor.pid == os::current_pid()) {
    future = executor.core->submit_plainly(executor.core_object, args.front(), args.subspan(1));
  }
  if (!future.is_valid()) future = submit_slowly(self, args, names);
  if (executor.may_grow) nb::handle(self).attr("_grow")(future);
  return future;
}

PyObject* submit(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (count < 1) {
    PyErr_SetString(PyExc_TypeError,
                    "ProcessPoolExecutor.submit() missing 1 required positional argument: 'fn'");
    return nullptr;
  }
  auto given = static_cast<std::size_t>(count + (names ? PyTuple_GET_SIZE(names) : 0));
  try {
    return submit_one(self, std::span(args, given), names).release().ptr();
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const base::OsError& error) {
    set_os_error(error);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef methods[] = {
    {"submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&submit)),
     METH_FASTCALL | METH_KEYWORDS,
     "submit($self, fn, /, *args, **kwargs)\n--\n\n"
     "Have fn(*args, **kwargs) called in a worker; return its Future.\n\n"
     "What can't travel is refused here, by an error that names its path."},
    {nullptr, nullptr, 0, nullptr}};

PyMemberDef members[] = {{"_pid", T_INT, offsetof(ExecutorObject, pid), 0, nullptr},
                         {"_may_grow", T_BOOL, offsetof(ExecutorObject, may_grow), 0, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

PyGetSetDef attributes[] = {{"_core", &get_core, &set_core, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("What procession.executor makes its ProcessPoolExecutor of.")},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, attributes},
    {0, nullptr}};

PyType_Spec spec = {"procession._engine.ExecutorBase", sizeof(ExecutorObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

void bind_executor(nb::module_& module) { add_heap_type(module, "ExecutorBase", spec); }

}  // namespace procession::bindings
