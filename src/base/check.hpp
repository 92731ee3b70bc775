// SPDX-License-Identifier: Apache-2.0
// base/check: stops the process when the engine itself is wrong.
//
// PROCESSION_CHECK is for bugs in procession, never for input or for the operating system's answers.
#pragma once

namespace procession::base {

[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace procession::base

#define PROCESSION_CHECK(expression) \
  (static_cast<bool>(expression)     \
       ? void(0)                     \
       : ::procession::base::check_failed(#expression, __FILE__, __LINE__))
