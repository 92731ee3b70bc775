// SPDX-License-Identifier: Apache-2.0
// os/module: functions by their place in a module (the program or a shared library).
//
// An address means nothing in another process: modules lie elsewhere there. The module's path and
// the distance from where it was loaded do, as long as it is the same build. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.hpp"

namespace procession::os {

struct FunctionPlace {
  std::string module;        // an absolute path; empty for the program itself
  std::string build;         // the linker's build id or, without one, the module's segments
  std::uint64_t offset = 0;  // from the module's load base
};

// Where `address` lies. Null is a place without build. std::invalid_argument if it is in no module.
FunctionPlace locate(const void* address);

// The address of a place in this process; loads its module if it isn't yet. std::runtime_error if it
// can't be loaded or is another build.
void* resolve(const FunctionPlace& place);

// The function's symbol, as the linker knows it (mangled), or empty: programs keep those of functions
// that other modules may call, which is all of them under -rdynamic.
std::string symbol_of(const void* address);

}  // namespace procession::os
