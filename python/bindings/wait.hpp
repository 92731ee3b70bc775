// SPDX-License-Identifier: Apache-2.0
// bindings/wait: blocking calls as Python has them (PEP 475): without the GIL, with its signal handlers.
#pragma once

#include <nanobind/nanobind.h>

#include <optional>

#include "base/deadline.hpp"

namespace procession::bindings {

// Of a `block` and a `timeout` in seconds, as the standard's acquire, get and put take them.
inline base::Deadline deadline_of(bool block, std::optional<double> timeout) {
  if (!block) return base::Deadline::at(base::Deadline::Clock::time_point::min());
  if (!timeout) return base::Deadline::never();
  return base::Deadline::after(std::chrono::duration<double>(*timeout));
}

// Calls `wait()` without the GIL until it isn't interrupted; what a signal handler raises ends it, after
// `give_up()`. With the GIL held before and after.
template <class Wait, class GiveUp>
auto wait_with_signals(Wait wait, decltype(wait()) interrupted, GiveUp give_up) {
  while (true) {
    auto result = [&] {
      nanobind::gil_scoped_release unlocked;
      return wait();
    }();
    if (result != interrupted) return result;
    if (PyErr_CheckSignals() != 0) {
      give_up();
      throw nanobind::python_error();
    }
  }
}

}  // namespace procession::bindings
