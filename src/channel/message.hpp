// SPDX-License-Identifier: Apache-2.0
// channel/message: messages of any size, with any number of descriptors, over a packet socket.
//
//   packet   = header (8 bytes) body
//   header   = u32 kind   u32 flags
//   flags    = kBodyInMemory   the last descriptor is a memfd that holds the body
//              kMoreFds        only descriptors here; the message goes on with the next packet
//
// One sender and one receiver at a time per socket. A message is either received whole or, when its
// sender dies in the middle, not at all.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "channel/payload.hpp"
#include "os/socket.hpp"

namespace procession::channel {

struct Message {
  std::uint32_t kind = 0;
  Payload payload;
  std::vector<os::Fd> fds;
};

// Returns false if the peer is gone. Restarts after signals: a packet is sent within a system call.
bool send_message(const os::Fd& socket, std::uint32_t kind, const Payload& payload,
                  std::span<const int> fds = {});

// As os::receive_packet: kPacket means that `message` was filled.
os::Received receive_message(const os::Fd& socket, Message& message, bool block);

}  // namespace procession::channel
