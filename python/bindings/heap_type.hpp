// SPDX-License-Identifier: Apache-2.0
// bindings/heap_type: the base classes that Python's own derive from, whose methods no caster is to slow down.
#pragma once

#include <nanobind/nanobind.h>

namespace procession::bindings {

// Adds the class to the module. nanobind::python_error if it can't be made.
inline void add_heap_type(nanobind::module_& module, const char* name, PyType_Spec& spec) {
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) throw nanobind::python_error();
  module.attr(name) = nanobind::steal(type);
}

// The tp_dealloc of one that takes part in garbage collection: `let_go(self)` ends its fields.
template <class LetGo>
void dealloc_collected(PyObject* self, LetGo let_go) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  let_go(self);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace procession::bindings
