// SPDX-License-Identifier: Apache-2.0
#include "connection_io.hpp"

#include <cerrno>
#include <new>
#include <utility>

#include "base/error.hpp"
#include "os/fd.hpp"
#include "os/poll.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

constexpr std::size_t kBreath = std::size_t{1} << 20;  // read at once, while all else has to wait
// A signal that comes between the look for one and the sleep doesn't end the sleep: it is seen by
// then. The next sleeps of the same wait are longer and longer.
constexpr std::chrono::milliseconds kFirstSleep{200};

// --- errors: a Python exception is set, and null or false returned

PyObject* os_error(const char* text) {
  PyErr_SetString(PyExc_OSError, text);
  return nullptr;
}

void set_error(const base::OsError& error) {
  errno = error.error_number();
  PyErr_SetFromErrno(PyExc_OSError);
}

}  // namespace

bool check_open(const Connection& connection) {
  if (connection.end.fd >= 0) return true;
  os_error("handle is closed");
  return false;
}

bool check_readable(const Connection& connection) {
  if (!check_open(connection)) return false;
  if (connection.readable) return true;
  os_error("connection is write-only");
  return false;
}

bool check_writable(const Connection& connection) {
  if (!check_open(connection)) return false;
  if (connection.writable) return true;
  os_error("connection is read-only");
  return false;
}

void drop_incoming(Connection& connection) {
  connection.incoming = {};
  Py_CLEAR(connection.body);
}

void close_fd(Connection& connection) {
  os::Fd fd(std::exchange(connection.end.fd, -1));
  drop_incoming(connection);
  connection.unfinished.reset();
  connection.pipe = {};
}

namespace {

PyObject* bad_message_length(Connection& connection) {
  if (connection.writable) {
    connection.readable = false;
    drop_incoming(connection);
  } else {
    close_fd(connection);
  }
  return os_error("bad message length");
}

// --- waiting

// Runs `call` without the GIL; true if it threw nothing.
template <class Call>
bool unlocked(Call call) {
  try {
    nb::gil_scoped_release released;
    call();
    return true;
  } catch (const base::OsError& error) {
    set_error(error);
    return false;
  }
}

// PEP 475: signals' handlers run meanwhile, and what they raise ends the wait.
template <class Wait>
Ready wait_until(Connection& connection, base::Deadline deadline, Wait wait) {
  const int fd = connection.end.fd;
  auto most = kFirstSleep;
  while (true) {
    if (PyErr_CheckSignals() != 0) return Ready::kFailed;
    if (connection.end.fd != fd) return check_open(connection) ? Ready::kYes : Ready::kFailed;
    auto bound = base::Deadline::earlier(deadline, base::Deadline::after(most));
    base::Waited waited = base::Waited::kInterrupted;
    if (!unlocked([&] { waited = wait(fd, bound); })) return Ready::kFailed;
    if (waited == base::Waited::kReady) break;
    if (waited == base::Waited::kTimedOut && deadline.passed()) return Ready::kTimedOut;
    if (most < std::chrono::hours(1)) most *= 2;
  }
  if (connection.end.fd != fd && !check_open(connection)) return Ready::kFailed;
  return Ready::kYes;
}

}  // namespace

Ready wait_readable(Connection& connection, base::Deadline deadline) {
  const int fd = connection.end.fd;
  bool found = false;
  unlocked([&] { found = connection.patience.look([&] { return os::is_readable(fd); }); });
  if (found)
    return connection.end.fd == fd || check_open(connection) ? Ready::kYes : Ready::kFailed;
  auto begin = base::Deadline::Clock::now();
  Ready ready = wait_until(connection, deadline, os::wait_readable);
  if (ready == Ready::kYes) connection.patience.slept(base::Deadline::Clock::now() - begin);
  return ready;
}

namespace {

// --- receiving

// A message and the object made of it, of the same size, freed one after the other, are just so much
// that glibc gives the memory back each time, and each page of the next message costs a fault.
Py_ssize_t with_slack(std::uint64_t size) {
  return static_cast<Py_ssize_t>(size > kLargeMessage ? size + size / 8 : size);
}

// Gets the message on, without blocking. kNothing as well if that takes long.
// kSized: an exception is set.
channel::Step step(Connection& connection, Reads reads, Py_ssize_t longest) {
  while (true) {
    channel::Step step = connection.incoming.read(connection.end, kBreath);
    if (step != channel::Step::kSized) return step;
    std::uint64_t size = connection.incoming.size();
    if (size >= kLargeMessage) connection.pipe.announce_reader(reads);  // the next one needn't
    if (longest >= 0 && size > static_cast<std::uint64_t>(longest)) {
      return channel::Step::kBadLength;
    }
    if (size > static_cast<std::uint64_t>(PY_SSIZE_T_MAX / 2)) {
      PyErr_NoMemory();
      return step;
    }
    connection.body = PyBytes_FromStringAndSize(nullptr, with_slack(size));
    if (!connection.body) return step;
    connection.incoming.give_room(std::as_writable_bytes(
        std::span(PyBytes_AS_STRING(connection.body), static_cast<std::size_t>(size))));
  }
}

// Of a message that has come in the stream.
bool complete(Connection& connection, Reads reads, Py_ssize_t longest, Message& message) {
  if (!redeem(message, connection.pipe) || (reads == Reads::kBytes && !flatten(message)))
    return false;
  if (longest < 0 || message.size <= longest) return true;
  message = {};
  bad_message_length(connection);
  return false;
}

}  // namespace

Got try_receive(Connection& connection, Message& message, Reads reads, Py_ssize_t longest) {
  try {
    switch (step(connection, reads, longest)) {
      case channel::Step::kDone:
        message = {nb::steal(std::exchange(connection.body, nullptr)),
                   static_cast<Py_ssize_t>(connection.incoming.size()),
                   {}};
        return complete(connection, reads, longest, message) ? Got::kMessage : Got::kFailed;
      case channel::Step::kNothing:
        connection.pipe.announce_reader(reads);
        return Got::kNothing;
      case channel::Step::kSized:
        return Got::kFailed;
      case channel::Step::kBadLength:
        bad_message_length(connection);
        return Got::kFailed;
      case channel::Step::kPeerGone:
        break;
    }
    if (connection.incoming.has_begun()) {
      os_error("got end of file during message");
    } else {
      PyErr_SetNone(PyExc_EOFError);
    }
  } catch (const base::OsError& error) {
    set_error(error);
  }
  return Got::kFailed;
}

bool receive(Connection& connection, Message& message, Reads reads, Py_ssize_t longest) {
  while (true) {
    Got got = try_receive(connection, message, reads, longest);
    if (got != Got::kNothing) return got == Got::kMessage;
    if (wait_readable(connection, base::Deadline::never()) == Ready::kFailed) return false;
  }
}

namespace {

// --- sending

Sent sent_by(channel::Step step) {
  if (step == channel::Step::kDone) return Sent::kAll;
  if (step == channel::Step::kNothing) return Sent::kNotAll;
  errno = EPIPE;
  PyErr_SetFromErrno(PyExc_OSError);
  return Sent::kFailed;
}

Sent step(Connection& connection, channel::Outgoing& message) {
  try {
    return sent_by(message.write(connection.end));
  } catch (const base::OsError& error) {
    set_error(error);
    return Sent::kFailed;
  }
}

// As `step`, and again as soon as there is any room, while that is soon: to poll(2), a socket has
// none until it is three quarters empty.
Sent send_patiently(Connection& connection, channel::Outgoing& message) {
  const channel::StreamEnd end = connection.end;
  auto step = channel::Step::kNothing;
  auto gets_on = [&] {
    std::size_t before = message.left();
    step = message.write(end);
    return step != channel::Step::kNothing || message.left() != before;
  };
  bool all_is_well = unlocked([&] {
    while (step == channel::Step::kNothing && connection.patience_to_send.look(gets_on)) continue;
  });
  return all_is_well ? sent_by(step) : Sent::kFailed;
}

bool send_all(Connection& connection, channel::Outgoing& message) {
  Sent sent = step(connection, message);
  while (sent == Sent::kNotAll) {
    sent = send_patiently(connection, message);
    if (sent != Sent::kNotAll) break;
    Ready ready = wait_until(connection, base::Deadline::never(), os::wait_writable);
    sent = ready == Ready::kFailed ? Sent::kFailed : step(connection, message);
  }
  return sent == Sent::kAll;
}

// What is left of a message that has begun. False if memory is short, which tears the stream.
bool keep(Connection& connection, channel::Outgoing& message) {
  if (!message.has_begun()) return true;
  try {
    message.keep_rest();
    connection.unfinished = std::move(message);
    return true;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
}

bool finish(Connection& connection) {
  if (!connection.unfinished) return true;
  channel::Outgoing message = std::move(*connection.unfinished);
  connection.unfinished.reset();
  if (send_all(connection, message)) return true;
  if (connection.end.fd >= 0) connection.unfinished = std::move(message);
  return false;
}

}  // namespace

bool send(Connection& connection, PackedMessage& packed) {
  if (!finish(connection)) return false;
  channel::Outgoing message = packed.outgoing();
  bool is_sent = send_all(connection, message);
  // An interrupt in the middle: the stream goes on with the rest the next time.
  if (!is_sent && connection.end.fd >= 0) keep(connection, message);
  if (is_sent || message.has_begun()) packed.mark_sent();
  return is_sent;
}

Sent try_finish(Connection& connection) {
  if (!connection.unfinished) return Sent::kAll;
  Sent sent = step(connection, *connection.unfinished);
  if (sent != Sent::kNotAll) connection.unfinished.reset();
  return sent;
}

Sent try_send(Connection& connection, PackedMessage& packed) {
  Sent finished = try_finish(connection);
  if (finished != Sent::kAll) return finished;
  channel::Outgoing message = packed.outgoing();
  Sent sent = step(connection, message);
  if (message.has_begun()) packed.mark_sent();
  if (sent != Sent::kNotAll || !message.has_begun()) return sent;
  return keep(connection, message) ? Sent::kAll : Sent::kFailed;
}

}  // namespace procession::bindings
