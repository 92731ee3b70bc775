// SPDX-License-Identifier: Apache-2.0
#include "os/stream.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"

namespace procession::os {

namespace {

bool is_ready(int fd, short events) noexcept {
  pollfd entry{fd, events, 0};
  return ::poll(&entry, 1, 0) != 0;
}

bool would_block(int error) noexcept {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

ssize_t receive(int fd, iovec part) {
  ssize_t size = ::recv(fd, part.iov_base, part.iov_len, MSG_DONTWAIT);
  // A peer that closed with our bytes unread is told as ECONNRESET, once, and before what it had
  // still sent.
  if (size >= 0 || errno != ECONNRESET) return size;
  size = ::recv(fd, part.iov_base, part.iov_len, MSG_DONTWAIT);
  return size < 0 && errno == ECONNRESET ? 0 : size;
}

// Kernels before 5.10 read pipes so, those before 6.4 don't write them: they want to be asked first.
ssize_t read_pipe(int fd, iovec part) { return ::preadv2(fd, &part, 1, -1, RWF_NOWAIT); }

ssize_t read_other(int fd, iovec part) {
  if (is_ready(fd, POLLIN)) return ::readv(fd, &part, 1);
  errno = EAGAIN;
  return -1;
}

ssize_t write_other(int fd, std::span<iovec> parts) {
  if (!is_ready(fd, POLLOUT)) {
    errno = EAGAIN;
    return -1;
  }
  // A pipe that says it can be written to has room for so much, and blocks for more.
  std::size_t room = PIPE_BUF;
  for (iovec& part : parts) {
    part.iov_len = std::min(part.iov_len, room);
    room -= part.iov_len;
  }
  return ::writev(fd, parts.data(), static_cast<int>(parts.size()));
}

}  // namespace

StreamKind stream_kind(int fd) noexcept {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return StreamKind::kOther;
  if (S_ISSOCK(status.st_mode)) return StreamKind::kSocket;
  return S_ISFIFO(status.st_mode) ? StreamKind::kPipe : StreamKind::kOther;
}

std::pair<Fd, Fd> socket_pair() {
  std::array<int, 2> ends{};
  PROCESSION_SYSCALL(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()));
  return {Fd(ends[0]), Fd(ends[1])};
}

std::pair<Fd, Fd> pipe_pair() {
  std::array<int, 2> ends{};
  PROCESSION_SYSCALL(::pipe2(ends.data(), O_CLOEXEC));
  return {Fd(ends[0]), Fd(ends[1])};
}

Moved try_read(int fd, StreamKind kind, std::span<std::byte> room) {
  iovec part{room.data(), room.size()};
  ssize_t size = -1;
  if (kind == StreamKind::kSocket) {
    size = receive(fd, part);
  } else {
    if (kind == StreamKind::kPipe) size = read_pipe(fd, part);
    if (kind == StreamKind::kOther || (size < 0 && errno == EOPNOTSUPP)) {
      size = read_other(fd, part);
    }
  }
  if (size > 0) return {Flow::kSome, static_cast<std::size_t>(size)};
  if (size == 0) return {Flow::kPeerGone};
  if (would_block(errno)) return {Flow::kNothing};
  base::throw_os_error(errno, "read");
}

Moved try_write(int fd, StreamKind kind, base::BytesView head, base::BytesView body) {
  std::array<iovec, 2> both{{{const_cast<std::byte*>(head.data()), head.size()},
                             {const_cast<std::byte*>(body.data()), body.size()}}};
  std::span<iovec> parts(both);
  if (head.empty()) parts = parts.last(1);
  ssize_t size = -1;
  if (kind == StreamKind::kSocket) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    size = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } else {
    if (kind == StreamKind::kPipe) {
      size = ::pwritev2(fd, parts.data(), static_cast<int>(parts.size()), -1, RWF_NOWAIT);
    }
    if (kind == StreamKind::kOther || (size < 0 && errno == EOPNOTSUPP)) {
      size = write_other(fd, parts);
    }
  }
  if (size > 0) return {Flow::kSome, static_cast<std::size_t>(size)};
  if (size == 0 || would_block(errno)) return {Flow::kNothing};
  if (errno == EPIPE || errno == ECONNRESET) return {Flow::kPeerGone};
  base::throw_os_error(errno, "write");
}

}  // namespace procession::os
