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

}  // namespace

void bind_arena_buffer(nb::module_& module) {
  nb::class_<ArenaBuffer>(module, "ArenaBuffer", nb::type_slots(slots),
                          "Received memory: writable, and there as long as anything views it.");
}

}  // namespace procession::bindings
