// SPDX-License-Identifier: Apache-2.0
// bindings/sink: the file-like object that a pickler writes a start's payload to.
#pragma once

#include <nanobind/nanobind.h>

#include "channel/payload.hpp"

namespace procession::bindings {

// Small pickles stay in a buffer, large ones go into a memfd as they are written: never twice.
class Sink {
 public:
  // Any contiguous buffer; returns its size in bytes. OSError if memory is full.
  std::size_t write(nanobind::handle buffer);

  channel::Payload take() { return writer_.take(); }

 private:
  channel::PayloadWriter writer_;
};

// A contiguous buffer of a Python object while it lives.
class BufferView {
 public:
  explicit BufferView(nanobind::handle object);
  ~BufferView();
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;

  base::BytesView bytes() const noexcept;

 private:
  Py_buffer buffer_;
};

void bind_sink(nanobind::module_& module);

}  // namespace procession::bindings
