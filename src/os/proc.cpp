// SPDX-License-Identifier: Apache-2.0
#include "os/proc.hpp"

#include <sys/stat.h>

namespace procession::os {

int thread_count() noexcept {
  // The link count of /proc/self/task is the number of threads plus 2 (proc_task_getattr).
  struct stat status {};
  return ::stat("/proc/self/task", &status) == 0 ? static_cast<int>(status.st_nlink) - 2 : -1;
}

}  // namespace procession::os
