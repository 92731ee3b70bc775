// SPDX-License-Identifier: Apache-2.0
// bindings/pool_view: a pool's figures and events as Python objects.
#pragma once

#include <nanobind/nanobind.h>

#include "pool/pool.hpp"

namespace procession::bindings {

class PoolCore;

// procession.events.PoolStats's fields, in their order, as tuples.
nanobind::tuple stats_of(pool::Pool& pool);

// An iterator over procession.events.Event's fields, as tuples; `core` is the PoolCore of `pool`.
nanobind::object events_of(nanobind::object core, pool::Pool& pool, std::size_t limit);

void bind_pool_view(nanobind::module_& module);

}  // namespace procession::bindings
