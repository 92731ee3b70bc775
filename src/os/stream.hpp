// SPDX-License-Identifier: Apache-2.0
// os/stream: byte streams between processes: pipes, and connected pairs of SOCK_STREAM sockets.
//
// Reads and writes here never block, whatever the descriptor's flags are: those belong to all who
// share it. Who wants to wait does so by os/poll. Thread-safe: no state but the kernel's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/bytes.hpp"
#include "os/fd.hpp"

namespace procession::os {

// What can be asked of a descriptor. Anything may be kOther, at the price of a system call more.
enum class StreamKind : std::uint8_t { kSocket, kPipe, kOther };

// kOther for what is no descriptor, too: reading it says so.
StreamKind stream_kind(int fd) noexcept;

std::pair<Fd, Fd> socket_pair();  // both ways
std::pair<Fd, Fd> pipe_pair();    // one reads, one writes

enum class Flow { kSome, kNothing, kPeerGone };

struct Moved {
  Flow flow;
  std::size_t bytes = 0;  // of kSome: at least 1
};

// Reads what is there, if anything is. kPeerGone: nothing will ever come.
Moved try_read(int fd, StreamKind kind, std::span<std::byte> room);

// Writes as much of head and body as there is room for, in one call. Not both may be empty. A pipe
// raises SIGPIPE, as pipes do, unless the process ignores it.
Moved try_write(int fd, StreamKind kind, base::BytesView head, base::BytesView body);

}  // namespace procession::os
