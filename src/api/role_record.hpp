// SPDX-License-Identifier: Apache-2.0
// api/role_record: the head of a start's payload: who the child is. What follows it is the call.
#pragma once

#include "api/bytes.hpp"
#include "api/family.hpp"

namespace procession::api {

// Without the name and the parent's pid, which the start itself carries.
void write_role(detail::Outgoing& out, const Role& role);
Role read_role(detail::Incoming::State& in);

}  // namespace procession::api
