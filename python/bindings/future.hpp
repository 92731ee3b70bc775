// SPDX-License-Identifier: Apache-2.0
// bindings/future: what concurrent.futures.Future keeps in its __dict__, kept in C fields that are
// made when somebody asks for them: most futures are only ever asked for their result.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstdint>

namespace procession::bindings {

class PoolCore;

enum class FutureState : std::uint8_t { kPending, kRunning, kCancelled, kNotified, kFinished };

// An instance of procession._engine.FutureBase. All fields are guarded by the GIL, but for `state`,
// which may be read without it.
struct FutureObject {
  PyObject_HEAD std::atomic<FutureState> state;
  std::uint64_t task;
  PoolCore* core;         // null once it is finished
  PyObject* core_object;  // keeps `core`
  PyObject* result;
  PyObject* exception;
  PyObject* condition;
  PyObject* waiters;
  PyObject* callbacks;
};

// Whether nobody has asked for what a future's end must notify.
inline bool nobody_waits(const FutureObject& future) noexcept {
  return !future.condition && !future.waiters && !future.callbacks;
}

inline bool is_done(const FutureObject& future) noexcept {
  return future.state.load(std::memory_order_acquire) >= FutureState::kCancelled;
}

void bind_future(nanobind::module_& module);

}  // namespace procession::bindings
