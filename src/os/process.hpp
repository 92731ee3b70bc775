// SPDX-License-Identifier: Apache-2.0
// os/process: the calling process itself.
#pragma once

#include <sys/types.h>

namespace procession::os {

pid_t current_pid() noexcept;
pid_t parent_pid() noexcept;

// Whether this process has children; also those that have ended and that nobody has waited for.
bool has_children() noexcept;

// Whether the calling thread is the one that the process began with.
bool is_main_thread() noexcept;

// Ends the process at once: no atexit handlers, no destructors, no flush.
[[noreturn]] void exit_now(int code) noexcept;

// Registers what exit(3) calls, with its code, before everything that was registered earlier.
void at_exit(void (*handler)(int code));

// How the program was called (argv[0]).
const char* program_name() noexcept;

// What ps(1) and top(1) show of the process; cut to 15 characters.
void set_process_name(const char* name) noexcept;

// Registers handlers that run around every fork(3) of the process, see pthread_atfork(3).
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

}  // namespace procession::os
