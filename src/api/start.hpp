// SPDX-License-Identifier: Apache-2.0
// api/start: a process from its first handle to its running child. Parent only. Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/process_state.hpp"

namespace procession::api {

std::string_view method_name(detail::StartMethod method);

// As Python's repr has it; "Process" for the default context's.
std::string class_name(std::optional<detail::StartMethod> method);

// Starts it, as Process::start says. Under fork it doesn't return in the child.
void start(const std::shared_ptr<detail::ProcessState>& state, detail::StartMethod method);

}  // namespace procession::api
