// SPDX-License-Identifier: Apache-2.0
#include "arena_buffer.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto& buffer = *nb::inst_ptr<ArenaBuffer>(self);
  return PyBuffer_FillInfo(view, self, buffer.bytes.data(),
                           static_cast<Py_ssize_t>(buffer.bytes.size()), 0, flags);
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)}, {0, nullptr}};

nb::object view_of(nb::handle buffer) { return nb::steal(PyMemoryView_FromObject(buffer.ptr())); }

// For another process it is what it holds, as a buffer in a pickle is in any case.
nb::tuple reduce(nb::handle self, int) {
  nb::object picklable = nb::module_::import_("_pickle").attr("PickleBuffer")(self);
  return nb::make_tuple(nb::handle(reinterpret_cast<PyObject*>(&PyByteArray_Type)),
                        nb::make_tuple(picklable));
}

}  // namespace

void bind_arena_buffer(nb::module_& module) {
  nb::class_<ArenaBuffer>(
      module, "ArenaBuffer", nb::type_slots(slots),
      "Received memory: writable, and there as long as anything views it. What an object that\n"
      "pickles a buffer out of band is given to be rebuilt from.")
      .def("__len__", [](const ArenaBuffer& self) { return self.bytes.size(); })
      .def("__getitem__",
           [](nb::handle self, nb::handle key) { return nb::object(view_of(self)[key]); })
      .def("__setitem__",
           [](nb::handle self, nb::handle key, nb::handle value) { view_of(self)[key] = value; })
      .def(
          "__eq__", [](nb::handle self, nb::handle other) { return view_of(self).equal(other); },
          nb::is_operator())
      .def("__reduce_ex__", &reduce, nb::arg("protocol"));
}

}  // namespace procession::bindings
