// SPDX-License-Identifier: Apache-2.0
#include "batch.hpp"

#include <utility>

namespace nb = nanobind;

namespace procession::bindings {

namespace {

constexpr std::uintptr_t kIsSlot = 1;  // in a pointer: objects and slots begin at even addresses
static_assert(alignof(Batch::Slot) > kIsSlot && alignof(PyObject) > kIsSlot);

}  // namespace

void* Batch::Slot::future() noexcept {
  return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(this) | kIsSlot);
}

Batch::Slot* Batch::slot_of(void* future) noexcept {
  auto word = reinterpret_cast<std::uintptr_t>(future);
  return word & kIsSlot ? reinterpret_cast<Slot*>(word & ~kIsSlot) : nullptr;
}

Batch::Batch(nb::object core) : core_(std::move(core)) {}

Batch::Slot& Batch::add() {
  results_.append(nb::none());
  ++open_;
  return slots_.emplace_back(this, slots_.size());
}

void Batch::Slot::settle(nb::object value, bool failed) {
  Batch& batch = *batch_;
  if (!failed) {
    PyList_SetItem(batch.results_.ptr(), static_cast<Py_ssize_t>(index_), value.release().ptr());
  } else if (!batch.is_interrupted_) {
    bool interrupts =
        PyObject_TypeCheck(value.ptr(), reinterpret_cast<PyTypeObject*>(PyExc_Exception)) == 0;
    if (interrupts || !batch.error_.is_valid() || index_ < batch.error_index_) {
      batch.error_ = std::move(value);
      batch.error_index_ = index_;
    }
    if (interrupts) batch.is_interrupted_.store(true, std::memory_order_release);
  }
  settled_.store(true, std::memory_order_release);
  if (--batch.open_ == 0 && !batch.held_) delete &batch;
}

nb::object Batch::take() {
  if (!error_.is_valid()) return std::move(results_);
  nb::object error = std::move(error_);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw nb::python_error();
}

void Batch::let_go() {
  held_ = false;
  if (open_ == 0) delete this;
}

}  // namespace procession::bindings
