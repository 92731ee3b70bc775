// SPDX-License-Identifier: Apache-2.0
#include "channel/message.hpp"

#include <array>
#include <cstring>
#include <iterator>
#include <stdexcept>

namespace procession::channel {

namespace {

enum Flags : std::uint32_t { kBodyInMemory = 1, kMoreFds = 2 };

struct Header {
  std::uint32_t kind;
  std::uint32_t flags;
};
static_assert(sizeof(Header) == 8);

bool send_part(const os::Fd& socket, Header header, base::BytesView body,
               std::span<const int> fds) {
  base::BytesView head = std::as_bytes(std::span(&header, 1));
  os::Sent sent = os::Sent::kInterrupted;
  while (sent == os::Sent::kInterrupted) sent = os::send_packet(socket, head, body, fds);
  return sent == os::Sent::kDone;
}

Header split_header(os::Packet& packet) {
  Header header{};
  if (packet.bytes.size() < sizeof header) {
    throw std::runtime_error("procession: a packet without header");
  }
  std::memcpy(&header, packet.bytes.data(), sizeof header);
  packet.bytes.erase(packet.bytes.begin(), packet.bytes.begin() + sizeof header);
  return header;
}

}  // namespace

bool send_message(const os::Fd& socket, std::uint32_t kind, const Payload& payload,
                  std::span<const int> fds) {
  std::vector<int> all(fds.begin(), fds.end());
  if (!payload.is_inline()) all.push_back(payload.memory.get());
  std::span<const int> left(all);
  while (left.size() > os::kMostFdsPerPacket) {
    if (!send_part(socket, {kind, kMoreFds}, {}, left.first(os::kMostFdsPerPacket))) return false;
    left = left.subspan(os::kMostFdsPerPacket);
  }
  std::uint32_t flags = payload.is_inline() ? 0U : std::uint32_t{kBodyInMemory};
  return send_part(socket, {kind, flags}, payload.inline_bytes, left);
}

os::Received receive_message(const os::Fd& socket, Message& message, bool block) {
  message = {};
  os::Packet packet;
  while (true) {
    os::Received received = os::receive_packet(socket, packet, block);
    // A message's later packets follow at once: they are waited for even if the first was not.
    if (received == os::Received::kInterrupted && !message.fds.empty()) continue;
    if (received != os::Received::kPacket) return received;
    Header header = split_header(packet);
    message.kind = header.kind;
    std::move(packet.fds.begin(), packet.fds.end(), std::back_inserter(message.fds));
    if (header.flags & kMoreFds) {
      block = true;
      continue;
    }
    if (header.flags & kBodyInMemory) {
      if (message.fds.empty()) throw std::runtime_error("procession: a message lacks its body");
      message.payload.memory = std::move(message.fds.back());
      message.fds.pop_back();
    } else {
      message.payload.inline_bytes = std::move(packet.bytes);
    }
    return os::Received::kPacket;
  }
}

}  // namespace procession::channel
