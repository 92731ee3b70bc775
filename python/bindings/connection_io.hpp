// SPDX-License-Identifier: Apache-2.0
// bindings/connection_io: a connection's messages as Python has them: received, sent, waited for.
//
// All of it is guarded by the GIL, which is given up to wait, and only for that: a step that doesn't
// block costs less than to give it up. Waits run signals' handlers (PEP 475). What goes wrong is a
// Python exception that is set.
#pragma once

#include <nanobind/nanobind.h>

#include <optional>

#include "base/deadline.hpp"
#include "channel/patience.hpp"
#include "channel/stream.hpp"
#include "connection_message.hpp"

namespace procession::bindings {

struct Connection {
  channel::StreamEnd end;  // which it owns
  bool readable = true;
  bool writable = true;
  PipeEnd pipe;
  channel::Incoming incoming;
  PyObject* body = nullptr;  // bytes: the room for what comes in
  std::optional<channel::Outgoing> unfinished;
  channel::Patience patience;
  channel::Patience patience_to_send;
};

// False, with OSError set, if it is closed or goes the other way.
bool check_open(const Connection& connection);
bool check_readable(const Connection& connection);
bool check_writable(const Connection& connection);

// Forgets what has come of a message.
void drop_incoming(Connection& connection);

void close_fd(Connection& connection);

enum class Ready { kYes, kTimedOut, kFailed };

Ready wait_readable(Connection& connection, base::Deadline deadline);

enum class Got { kMessage, kNothing, kFailed };

// Gets a message of at most `longest` bytes (-1: of any) on, without blocking. kNothing as well if
// that takes long. One whose bytes are read has one part.
Got try_receive(Connection& connection, Message& message, Reads reads, Py_ssize_t longest = -1);

bool receive(Connection& connection, Message& message, Reads reads, Py_ssize_t longest = -1);

enum class Sent { kAll, kNotAll, kFailed };

// Without blocking: what is left of a message that had begun.
Sent try_finish(Connection& connection);

// The same, and then a message. kNotAll: nothing of it has gone. What is left of it once a part has
// gone is kept, for `try_finish`.
Sent try_send(Connection& connection, PackedMessage& message);

bool send(Connection& connection, PackedMessage& message);

}  // namespace procession::bindings
