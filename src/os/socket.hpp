// SPDX-License-Identifier: Apache-2.0
// os/socket: connected pairs of SOCK_SEQPACKET sockets that carry packets and descriptors.
//
// Nothing listens and nothing has a name: only who inherits or is sent an end can reach it. Packets
// keep their boundaries; one is sent or received whole. See unix(7).
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "os/fd.hpp"

namespace procession::os {

inline constexpr std::size_t kMostFdsPerPacket = 253;  // SCM_MAX_FD, net/scm.h
inline constexpr std::size_t kLargestPacket =
    std::size_t{32} * 1024;  // well below net.core.wmem_default

std::pair<Fd, Fd> packet_pair();

// Whether `fd` is an end of such a pair.
bool is_packet_socket(int fd) noexcept;

// From now on nothing can be sent through this end, by any copy of it.
void forbid_sending(const Fd& socket);

enum class Sent { kDone, kPeerGone, kInterrupted };

// Sends head and body as one packet, with the descriptors (copies travel, the caller keeps its own).
// Blocks while the peer's buffer is full.
Sent send_packet(const Fd& socket, base::BytesView head, base::BytesView body,
                 std::span<const int> fds);

enum class Received { kPacket, kNothing, kEndOfFile, kInterrupted };

struct Packet {
  base::Bytes bytes;
  std::vector<Fd> fds;
};

// With `block` false gives kNothing when there is no packet. One reader at a time. Descriptors that could not be received
// (EMFILE) are an OsError: the kernel drops them with no other trace than MSG_CTRUNC.
Received receive_packet(const Fd& socket, Packet& packet, bool block);

}  // namespace procession::os
