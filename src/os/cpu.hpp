// SPDX-License-Identifier: Apache-2.0
// os/cpu: how many CPUs this process may use.
#pragma once

namespace procession::os {

// The CPUs of the affinity mask, bounded by the cgroup's quota (v2 cpu.max, v1 cfs_quota_us),
// rounded up; at least 1.
int usable_cpus();

}  // namespace procession::os
