// SPDX-License-Identifier: Apache-2.0
// os/pages: what a fork of this process shares with it, page by page.
//
// A fork shares each page until somebody writes to it: a trap and a copy then, for each page by itself.
// Pages that every child writes are cheaper to copy within the fork, and those that none writes are
// cheaper to share in large folios. For processes with one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "os/fd.hpp"

namespace procession::os {

// Whole pages, [begin, end).
struct PageRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
};

// What is in both. Each is in the order of its addresses.
std::vector<PageRange> common(std::span<const PageRange> a, std::span<const PageRange> b);

// The pages of private, writable memory that no other process shares: in a fork, what it has written,
// or what has been written since by whom it is a copy of. In the order of their addresses. Mappings of
// more than 64 MiB are left out. Empty where /proc can't tell.
std::vector<PageRange> own_pages();

// Moves the memory of malloc(3) that `written` lies in, 32 MiB at most, to large folios, the pages of
// `written` among it to pages of their own. What it holds, and where, stays as it was. Takes 10 ms and
// 2 ms per MiB, and as much memory as it moves, meanwhile. Gives what of `written` may be pinned: what is
// in no huge page, of which fork(2) would copy all.
std::vector<PageRange> pack_around(std::span<const PageRange> written);

// What pins pages: io_uring's registered buffers, the one way to it without privileges. Invalid where
// io_uring is forbidden. A fork closes its own.
Fd open_pinning();

// Has forks copy these pages at once (Linux 5.12) while `pinning` is open anywhere, those of them that are
// private memory of this process. False if they take more than a quarter of what RLIMIT_MEMLOCK gives
// this user's programs together.
bool pin(const Fd& pinning, std::span<const PageRange> pages);

}  // namespace procession::os
