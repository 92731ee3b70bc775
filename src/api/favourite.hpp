// SPDX-License-Identifier: Apache-2.0
// api/favourite: what the thread has at hand whose submits take a pool's short way.
#pragma once

#include "api/future_state.hpp"
#include "api/pool_core.hpp"

namespace procession::api {

// What the one thread has at hand that is the favourite of the pool's mutex; by that, under it. (What is
// thread_local takes a call to find, in what is compiled for a library.)
struct PoolCore::Favourite {
  detail::TaskName name;  // of the function that it submitted last
  pool::FunctionId function = 0;
  detail::FutureState::Maker maker;

  Favourite() = default;
  Favourite(const Favourite&) = delete;
  Favourite& operator=(const Favourite&) = delete;
  ~Favourite() { maker.give_up(); }
};

}  // namespace procession::api
