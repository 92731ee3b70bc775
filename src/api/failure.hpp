// SPDX-License-Identifier: Apache-2.0
// api/failure: an exception on its way from a child to its parent. Both sides. Thread-safe.
//
//   failure = text type name (mangled)   text type name   text message   the codec's own bytes
//
// Types that the parent has no codec for become a RemoteError.
#pragma once

#include <exception>
#include <string>

#include "channel/payload.hpp"

namespace procession::api {

channel::Payload encode_failure(const std::exception_ptr& thrown);
std::exception_ptr decode_failure(channel::Payload payload);
std::exception_ptr decode_failure(base::BytesView bytes);

// As C++ writes the name of a symbol or a type.
std::string readable_name(const std::string& mangled);

// One line: "std::runtime_error: message".
std::string describe(const std::exception_ptr& thrown);

}  // namespace procession::api
