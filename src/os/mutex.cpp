// SPDX-License-Identifier: Apache-2.0
#include "os/mutex.hpp"

namespace procession::os {

void Mutex::wait() noexcept {
  while (word_.exchange(kAwaited, std::memory_order_acquire) != kFree) {
    futex_wait(word_, kAwaited, base::Deadline::never());
  }
}

}  // namespace procession::os
