// SPDX-License-Identifier: Apache-2.0
// launch/zygote_server: the loop of a zygote: one child for each kMake. Runs in the zygote only.
//
// Single-threaded by intent. Children are clones that belong to the zygote's parent; if what the
// zygote preloaded has started threads, it asks for adoption instead (see launch/wire).
#pragma once

#include "launch/life.hpp"

namespace procession::launch {

// Serves until the parent is gone or closes `control`; a child never returns from it.
void serve_zygote(os::Fd control, Entry& entry);

}  // namespace procession::launch
