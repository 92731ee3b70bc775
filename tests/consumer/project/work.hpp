// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <procession/procession.hpp>

void work(procession::Connection<std::string> answer, std::string text);

// Starts a process from within the shared library.
std::string work_elsewhere(const procession::Context& context, std::string text);
