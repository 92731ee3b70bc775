// SPDX-License-Identifier: Apache-2.0
// os/clock: the monotonic clock as of the last tick, at a quarter of the price.
#pragma once

#include <chrono>

namespace procession::os {

// CLOCK_MONOTONIC_COARSE: up to 10 ms behind steady_clock, never ahead of it. See clock_gettime(2).
std::chrono::steady_clock::time_point coarse_now() noexcept;

}  // namespace procession::os
