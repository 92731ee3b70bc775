// SPDX-License-Identifier: Apache-2.0
// os/poll: waits until a descriptor can be read.
#pragma once

#include "base/deadline.hpp"

namespace procession::os {

// Ready also when the peer is gone (a read then gives end-of-file). Both parent and child.
base::Waited wait_readable(int fd, base::Deadline deadline);

// Whether nobody reads any more from the pipe or socket that `fd` writes to.
bool reader_is_gone(int fd) noexcept;

}  // namespace procession::os
