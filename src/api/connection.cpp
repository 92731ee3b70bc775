// SPDX-License-Identifier: Apache-2.0
#include "procession/connection.hpp"

#include <cerrno>
#include <stdexcept>

#include "api/bytes.hpp"
#include "base/error.hpp"
#include "os/poll.hpp"
#include "os/socket.hpp"
#include "procession/error.hpp"

namespace procession::detail {

namespace {

constexpr std::uint32_t kValue = 1;  // the one kind of message

// The engine's functions take an os::Fd; this one is owned elsewhere.
class Borrowed {
 public:
  explicit Borrowed(int fd) noexcept : fd_(fd) {}
  ~Borrowed() { static_cast<void>(fd_.release()); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  operator const os::Fd&() const noexcept { return fd_; }  // NOLINT(google-explicit-constructor)

 private:
  os::Fd fd_;
};

// Runs `call`; an error of the engine becomes one of the API.
template <class Call>
auto rethrowing(const char* attempted, Call call) {
  try {
    return call();
  } catch (const base::OsError& error) {
    throw OsError(error.error_number(), attempted);
  }
}

}  // namespace

Link& Link::operator=(Link&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    readable_ = other.readable_;
    writable_ = other.writable_;
  }
  return *this;
}

Link::~Link() { close(); }

std::pair<Link, Link> Link::pair(bool duplex) {
  return rethrowing("can't make a pipe", [&] {
    auto [first, second] = os::packet_pair();
    if (!duplex) os::forbid_sending(first);
    Link one(first.release(), true, duplex);
    return std::pair(std::move(one), Link(second.release(), duplex, true));
  });
}

Link Link::duplicate() const {
  int fd = fileno();
  return rethrowing("can't duplicate a connection",
                    [&] { return Link(os::duplicate(fd).release(), readable_, writable_); });
}

int Link::fileno() const {
  if (closed()) throw std::logic_error("handle is closed");
  return fd_;
}

void Link::close() noexcept { os::Fd(std::exchange(fd_, -1)).reset(); }

void Link::check_writable() const {
  fileno();
  if (!writable_) throw std::logic_error("connection is read-only");
}

void Link::send(Outgoing& out) const {
  channel::Payload payload = out.state().writer.take();
  bool sent = rethrowing("can't send over a connection", [&] {
    return channel::send_message(Borrowed(fd_), kValue, payload, out.state().fds);
  });
  if (!sent) throw OsError(EPIPE, "can't send: the other end of the connection is closed");
}

Incoming Link::receive() const {
  fileno();
  if (!readable_) throw std::logic_error("connection is write-only");
  channel::Message message;
  os::Received received = os::Received::kInterrupted;
  while (received == os::Received::kInterrupted) {
    received = rethrowing("can't receive from a connection",
                          [&] { return channel::receive_message(Borrowed(fd_), message, true); });
  }
  if (received != os::Received::kPacket) throw EOFError();
  return Incoming(
      std::make_unique<Incoming::State>(std::move(message.payload), std::move(message.fds)));
}

bool Link::poll(Seconds timeout) const {
  fileno();
  if (!readable_) throw std::logic_error("connection is write-only");
  base::Deadline deadline = base::Deadline::after(timeout);
  base::Waited waited = base::Waited::kInterrupted;
  while (waited == base::Waited::kInterrupted) waited = os::wait_readable(fd_, deadline);
  return waited == base::Waited::kReady;
}

}  // namespace procession::detail
