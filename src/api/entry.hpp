// SPDX-License-Identifier: Apache-2.0
// api/entry: the child's side: from its start to the end of its target.
//
// A child's end is that of its target: children joined, streams flushed, exit at once. Neither
// atexit handlers nor static destructors run in a child, not even when the target calls exit(3):
// under fork they would be the parent's.
#pragma once

#include "api/family.hpp"
#include "launch/fork.hpp"
#include "procession/detail/call.hpp"

namespace procession::api {

// argv[1] of a program that is executed to be a child or a zygote.
inline constexpr const char* kChildMarker = "--procession-child";

// std::cout, cerr, clog, stdout and stderr. Not every C stream: one in which another thread waits
// for input is locked.
void flush_standard_streams();

// The life of a child by fork.
[[noreturn]] void run_forked(Role role, detail::Call& call, launch::Forked forked);

// Whether the program has the entry that makes it executable as a child.
bool has_main_shim() noexcept;

// Whether this process is being made a child or a zygote, and hasn't reached its entry.
bool in_static_initialisers() noexcept;

}  // namespace procession::api
