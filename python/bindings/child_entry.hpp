// SPDX-License-Identifier: Apache-2.0
// bindings/child_entry: what a started Python process does: hand its start to procession._child.
#pragma once

#include <nanobind/nanobind.h>

#include "launch/fork.hpp"

namespace procession::bindings {

// A forked child's life, from its fork to its exit.
[[noreturn]] void live_forked(launch::Forked forked, const nanobind::callable& in_child);

void bind_child_entry(nanobind::module_& module);

}  // namespace procession::bindings
