// SPDX-License-Identifier: Apache-2.0
#include "os/socket.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstring>

#include "base/error.hpp"

namespace procession::os {

namespace {

constexpr std::size_t kControlSize = CMSG_SPACE(sizeof(int) * kMostFdsPerPacket);

iovec to_iovec(base::BytesView bytes) noexcept {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

void attach_fds(msghdr& message, std::span<std::byte> control, std::span<const int> fds) noexcept {
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
}

std::vector<Fd> detach_fds(msghdr& message) {
  std::vector<Fd> fds;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

// What a receive that brought no packet means.
Received without_packet(ssize_t result) {
  if (result == 0) return Received::kEndOfFile;
  if (errno == EINTR) return Received::kInterrupted;
  if (errno == EAGAIN || errno == EWOULDBLOCK) return Received::kNothing;
  base::throw_os_error(errno, "recvmsg");
}

// recvmsg. A peer that closed with our packets unread is told as ECONNRESET, once, and before what
// it had still sent.
ssize_t receive(int socket, msghdr& message, int flags) {
  ssize_t size = ::recvmsg(socket, &message, flags);
  return size < 0 && errno == ECONNRESET ? ::recvmsg(socket, &message, flags) : size;
}

}  // namespace

std::pair<Fd, Fd> packet_pair() {
  std::array<int, 2> ends{};
  PROCESSION_SYSCALL(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()));
  return {Fd(ends[0]), Fd(ends[1])};
}

bool is_packet_socket(int fd) noexcept {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

void forbid_sending(const Fd& socket) { PROCESSION_SYSCALL(::shutdown(socket.get(), SHUT_WR)); }

Sent send_packet(const Fd& socket, base::BytesView head, base::BytesView body,
                 std::span<const int> fds) {
  std::array<iovec, 2> parts{to_iovec(head), to_iovec(body)};
  alignas(cmsghdr) std::array<std::byte, kControlSize> control;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (!fds.empty()) attach_fds(message, control, fds);
  if (::sendmsg(socket.get(), &message, MSG_NOSIGNAL) >= 0) return Sent::kDone;
  if (errno == EINTR) return Sent::kInterrupted;
  if (errno == EPIPE || errno == ECONNRESET) return Sent::kPeerGone;
  base::throw_os_error(errno, "sendmsg");
}

Received receive_packet(const Fd& socket, Packet& packet, bool block) {
  packet.fds.clear();
  // A look at the packet's size first: a whole kLargestPacket of fresh pages would cost a starting
  // child more than the system call does.
  msghdr message{};
  ssize_t size = receive(socket.get(), message, MSG_PEEK | MSG_TRUNC | (block ? 0 : MSG_DONTWAIT));
  packet.bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  if (size <= 0) return without_packet(size);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) std::array<std::byte, kControlSize> control;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  size = receive(socket.get(), message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (size <= 0) return without_packet(size);
  packet.fds = detach_fds(message);
  if (message.msg_flags & MSG_CTRUNC) base::throw_os_error(EMFILE, "recvmsg(SCM_RIGHTS)");
  return Received::kPacket;
}

}  // namespace procession::os
