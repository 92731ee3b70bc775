// SPDX-License-Identifier: Apache-2.0
#include "sink.hpp"

namespace nb = nanobind;

namespace procession::bindings {

BufferView::BufferView(nb::handle object) {
  if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_SIMPLE) != 0) throw nb::python_error();
}

BufferView::~BufferView() { PyBuffer_Release(&buffer_); }

base::BytesView BufferView::bytes() const noexcept {
  return {static_cast<const std::byte*>(buffer_.buf), static_cast<std::size_t>(buffer_.len)};
}

std::size_t Sink::write(nb::handle buffer) {
  BufferView view(buffer);
  writer_.append(view.bytes());
  return view.bytes().size();
}

void bind_sink(nb::module_& module) {
  nb::class_<Sink>(module, "Sink", "Where a pickler writes what a new process gets.")
      .def(nb::init<>())
      .def("write", &Sink::write, nb::arg("buffer"));
}

}  // namespace procession::bindings
