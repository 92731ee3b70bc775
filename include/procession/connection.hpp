// SPDX-License-Identifier: Apache-2.0
// procession/connection: the two ends of a pipe that carries values between processes.
//
// A connection travels as an argument of a process under every start method, and over another
// connection. Move-only; a moved-from or closed one is invalid. The end that went to a child is
// still open in the parent if the parent kept a duplicate. One sender and one receiver at a time.
#pragma once

#include <chrono>
#include <concepts>
#include <memory>
#include <utility>

#include "procession/context.hpp"
#include "procession/detail/archive.hpp"
#include "procession/detail/export.hpp"

namespace procession {

namespace detail {

struct PipeState;

// A connection without its type.
class PROCESSION_EXPORT Link {
 public:
  using Seconds = std::chrono::duration<double>;

  Link() = default;
  Link(Link&& other) noexcept;
  Link& operator=(Link&& other) noexcept;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();

  static std::pair<Link, Link> pair(bool duplex);
  Link duplicate() const;

  int fileno() const;
  bool closed() const noexcept { return fd_ < 0; }
  bool readable() const noexcept { return readable_; }
  bool writable() const noexcept { return writable_; }
  void close() noexcept;

  void check_writable() const;
  // Large parts of what is written to `out` from now on are for this connection.
  void prepare(Outgoing& out) const;
  void send(Outgoing& out) const;
  Incoming receive() const;
  bool poll(Seconds timeout) const;

  // How it travels itself.
  void write(Outgoing& out) const;
  static Link read(Incoming& in);

 private:
  Link(int fd, bool readable, bool writable, std::shared_ptr<PipeState> pipe) noexcept;

  int fd_ = -1;
  bool readable_ = false;
  bool writable_ = false;
  std::shared_ptr<PipeState> pipe_;  // null: all goes through the socket
};

}  // namespace detail

template <class T>
class Connection {
 public:
  using Seconds = detail::Link::Seconds;

  Connection() = default;
  explicit Connection(detail::Link link) noexcept : link_(std::move(link)) {}

  // Waits while the receiver lags behind by more than the kernel's buffer. OsError (EPIPE) if the
  // other end is closed.
  void send(const T& value) {
    check_type();
    link_.check_writable();
    detail::Outgoing out;
    link_.prepare(out);
    detail::Encoder encoder(out);
    detail::encode(encoder, value);
    link_.send(out);
  }

  // Waits for a value; EOFError once the other end is closed and nothing is left.
  T recv() {
    check_type();
    detail::Incoming in = link_.receive();
    detail::Decoder decoder(in);
    return detail::decode<T>(decoder);
  }

  // Whether recv() would not wait; waits for that up to `timeout`.
  bool poll(Seconds timeout = Seconds(0)) const { return link_.poll(timeout); }

  // Another handle of the same end.
  Connection duplicate() const { return Connection(link_.duplicate()); }

  void close() noexcept { link_.close(); }
  bool closed() const noexcept { return link_.closed(); }
  bool readable() const noexcept { return link_.readable(); }
  bool writable() const noexcept { return link_.writable(); }
  int fileno() const { return link_.fileno(); }

  template <std::same_as<detail::Encoder> Archive>
  void CEREAL_SAVE_FUNCTION_NAME(Archive& archive) const {
    link_.write(archive.out());
  }
  template <std::same_as<detail::Decoder> Archive>
  void CEREAL_LOAD_FUNCTION_NAME(Archive& archive) {
    link_ = detail::Link::read(archive.in());
  }

 private:
  static void check_type() {
    static_assert(detail::travels_as_field<T>(),
                  "procession: this type can't travel to another process. It needs cereal's "
                  "serialize(), or to be a plain aggregate of what can travel.");
  }

  detail::Link link_;
};

// Two connected ends, both of which send and receive; or, if not duplex, one that receives and one
// that sends.
template <class T>
std::pair<Connection<T>, Connection<T>> Pipe(bool duplex = true) {
  auto [first, second] = detail::Link::pair(duplex);
  return {Connection<T>(std::move(first)), Connection<T>(std::move(second))};
}

template <class T>
std::pair<Connection<T>, Connection<T>> Context::Pipe(bool duplex) const {
  return procession::Pipe<T>(duplex);
}

}  // namespace procession
