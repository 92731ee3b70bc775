// SPDX-License-Identifier: Apache-2.0
#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace procession::base {

void check_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "procession: internal error: %s does not hold (%s:%d)\n", expression, file,
               line);
  std::abort();
}

}  // namespace procession::base
