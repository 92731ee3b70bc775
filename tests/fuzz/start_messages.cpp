// SPDX-License-Identifier: Apache-2.0
// launch/wire, and what the C++ front door reads of a start and of a failure: packets of which something
// else has become, or that never were messages.
#include <array>
#include <filesystem>
#include <future>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "api/bytes.hpp"
#include "api/failure.hpp"
#include "api/role_record.hpp"
#include "base/check.hpp"
#include "channel/message.hpp"
#include "input.hpp"
#include "launch/wire.hpp"
#include "os/memfd.hpp"
#include "os/socket.hpp"
#include "procession/error.hpp"

namespace procession::fuzz {

namespace {

using detail::Incoming;
using detail::Outgoing;

constexpr std::size_t kMostMessages = 20;  // for which the sockets have room

void send_start(const os::Fd& socket, Input& input) {
  api::Role role;
  role.kind = "Process";
  role.parent_name = std::string(input.below(20), 'p');
  role.identity.assign(input.below(4), 1);
  Outgoing out;
  write_role(out, role);
  channel::Payload payload = out.state().writer.take();
  std::string name(input.below(20), 'n');
  std::vector<int> fds(input.below(4), socket.get());
  os::Surroundings surroundings{std::string("A=1\0", 4), "/", 0};
  launch::send_start(socket, {name, payload, fds, surroundings, socket.get(), false});
}

void send_failure(const os::Fd& socket, Input& input) {
  std::array<std::exception_ptr, 8> failures{
      std::make_exception_ptr(std::runtime_error("failed")),
      std::make_exception_ptr(std::system_error(5, std::generic_category(), "failed")),
      std::make_exception_ptr(std::bad_alloc()),
      std::make_exception_ptr(1),
      std::make_exception_ptr(std::regex_error(std::regex_constants::error_brace)),
      std::make_exception_ptr(std::future_error(std::future_errc::no_state)),
      std::make_exception_ptr(std::filesystem::filesystem_error("failed", "path", {})),
      std::make_exception_ptr(WorkerDied("died", 1, -9, "function")),
  };
  channel::Payload payload = api::encode_failure(failures[input.below(failures.size())]);
  channel::send_message(socket, launch::kFailure, payload);
}

void send_one(const os::Fd& socket, Input& input) {
  switch (input.below(6)) {
    case 0:
      launch::send_hello(socket, 1);
      break;
    case 1:
      launch::send_refusal(socket, {11, true});
      break;
    case 2:
      launch::send_make(socket, socket, true);
      break;
    case 3:
      send_failure(socket, input);
      break;
    default:
      send_start(socket, input);
  }
}

// Sends a message's packet on, not as it was.
void spoil(const os::Fd& from, const os::Fd& to, Input& input) {
  os::Packet packet;
  if (os::receive_packet(from, packet, false) != os::Received::kPacket) return;
  for (std::size_t i = input.below(4); i > 0; --i) corrupt(input, packet.bytes);
  if (input.below(8) == 0) packet.bytes.resize(input.number<std::uint8_t>());
  if (input.below(8) == 0 && !packet.fds.empty()) packet.fds.pop_back();
  if (input.below(8) == 0) {
    packet.fds.push_back(os::create_memfd("fuzz"));
    os::append(packet.fds.back(), input.bytes(input.number<std::uint8_t>()));
  }
  std::vector<int> fds;
  for (const os::Fd& fd : packet.fds) fds.push_back(fd.get());
  if (!packet.bytes.empty()) os::send_packet(to, packet.bytes, {}, fds);
}

void decode_start(channel::Message message) {
  launch::Start start = launch::decode_start(std::move(message));
  Incoming::State in(std::move(start.payload), std::move(start.fds));
  api::Role role = api::read_role(in);
  PROCESSION_CHECK(role.identity.size() < 1 << 20);
}

void decode(channel::Message message) {
  switch (message.kind) {
    case launch::kServe:
    case launch::kStart:
      decode_start(std::move(message));
      break;
    case launch::kHello:
      launch::decode_hello(message);
      break;
    case launch::kRefused:
      launch::decode_refusal(message);
      break;
    case launch::kMake:
      launch::decode_make(message);
      break;
    default:
      api::describe(api::decode_failure(std::move(message.payload)));
  }
}

}  // namespace

void fuzz(Input input) {
  auto [sender, between] = os::packet_pair();
  auto [again, receiver] = os::packet_pair();
  for (std::size_t i = 0; i < kMostMessages && !input.empty(); ++i) {
    send_one(sender, input);
    spoil(between, again, input);
  }
  again.reset();  // one that is to go on ends here
  while (true) {
    channel::Message message;
    try {
      if (channel::receive_message(receiver, message, false) != os::Received::kPacket) return;
      decode(std::move(message));
    } catch (const std::runtime_error&) {
    }
  }
}

}  // namespace procession::fuzz
