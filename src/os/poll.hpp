// SPDX-License-Identifier: Apache-2.0
// os/poll: waits until a descriptor can be read, or written to.
#pragma once

#include "base/deadline.hpp"

namespace procession::os {

// Ready also when the peer is gone (a read then gives end-of-file). Both parent and child.
base::Waited wait_readable(int fd, base::Deadline deadline);

// Ready also when nobody reads any more (a write then says so).
base::Waited wait_writable(int fd, base::Deadline deadline);

// Whether wait_readable wouldn't wait.
bool is_readable(int fd) noexcept;

// Whether nobody reads any more from the pipe or socket that `fd` writes to.
bool reader_is_gone(int fd) noexcept;

}  // namespace procession::os
