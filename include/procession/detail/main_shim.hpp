// SPDX-License-Identifier: Apache-2.0
// detail/main_shim: what the entry that is linked into programs asks of procession. Not for users.
#pragma once

#include "procession/detail/export.hpp"

namespace procession::detail {

// Called among the first static initialisers.
PROCESSION_EXPORT void note_main_shim(int argc, char** argv) noexcept;

// Whether this program was executed to be a child or a fork server.
PROCESSION_EXPORT bool is_child(int argc, char** argv) noexcept;

[[noreturn]] PROCESSION_EXPORT void live_as_child(char** argv);

}  // namespace procession::detail
