// SPDX-License-Identifier: Apache-2.0
// os/proc: what /proc tells of this process.
#pragma once

namespace procession::os {

// Threads of this process, or -1 where /proc can't tell. Allocates nothing.
int thread_count() noexcept;

}  // namespace procession::os
