// SPDX-License-Identifier: Apache-2.0
// api/pool_worker: what a worker process of a pool does: runs the initializer, then calls as they
// come, until it is told to end.
#pragma once

#include <cstdint>
#include <memory>

#include "procession/detail/call.hpp"

namespace procession::api {

class PoolCore;

// For the process that is to have this place.
std::unique_ptr<detail::Call> make_worker_call(const PoolCore& core, std::uint32_t place);

}  // namespace procession::api
