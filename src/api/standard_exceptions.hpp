// SPDX-License-Identifier: Apache-2.0
// api/standard_exceptions: how the standard library's exceptions travel: each as exactly its type.
#pragma once

#include <map>
#include <string>

#include "procession/error.hpp"

namespace procession::api {

// Adds a codec for each, by mangled type name.
void add_standard_exceptions(std::map<std::string, detail::ExceptionCodec>& codecs);

}  // namespace procession::api
