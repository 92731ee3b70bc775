// SPDX-License-Identifier: Apache-2.0
// bindings/connection_message: what a message of a connection is made of, on its way out and in.
//
// A small one is bytes in the stream. A large one lies in a block of the arena, if the other end is
// known to be read by a process of ours; the stream has a claim to it then: a pickle that any reader who
// isn't one of us after all unpickles to the object, by procession.connection. Guarded by the GIL. What goes
// wrong is a Python exception that is set, and null or false.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "channel/parts.hpp"
#include "channel/stream.hpp"
#include "shm/pipe_blocks.hpp"

namespace procession::bindings {

// A view of a buffer, released at its end.
class View {
 public:
  View() = default;
  ~View() { release(); }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  void release() {
    if (buffer_.obj) PyBuffer_Release(&buffer_);
  }
  bool of(PyObject* object) { return PyObject_GetBuffer(object, &buffer_, PyBUF_SIMPLE) == 0; }
  bool of_writable(PyObject* object) { return PyArg_Parse(object, "w*", &buffer_) != 0; }
  std::span<std::byte> bytes() const noexcept {
    return {static_cast<std::byte*>(buffer_.buf), static_cast<std::size_t>(buffer_.len)};
  }

 private:
  Py_buffer buffer_{};
};

// Bytes from which a message goes by a block.
inline constexpr std::size_t kLargeMessage = std::size_t{64} * 1024;

enum class Reads : std::uint32_t { kObjects = 1, kBytes = 2 };

// One end of a pipe, as far as blocks are concerned. Looked for when first needed: a process that
// sends and receives small things only has no use for the session's memory.
class PipeEnd {
 public:
  PipeEnd() = default;
  PipeEnd(std::shared_ptr<shm::PipeBlocks> blocks, int end) : end_(end), blocks_(blocks) {}
  PipeEnd(const shm::CellName& name, int end) : end_(end), name_(name) {}

  int end() const noexcept { return end_; }
  void arrive() { find(true); }  // see Cell::keep_until_found
  bool is_known() const noexcept { return blocks_ || name_; }
  shm::PipeBlocks* blocks();  // null if there are none
  const std::shared_ptr<shm::PipeBlocks>& shared() const noexcept { return blocks_; }

  // That this end is read by somebody who can take blocks.
  void announce_reader(Reads what);
  // Null unless blocks can be sent to the other end.
  shm::PipeBlocks* open_way(Reads what);

 private:
  void find(bool arrives);

  int end_ = 0;
  std::uint32_t announced_ = 0;
  std::optional<shm::CellName> name_;
  std::shared_ptr<shm::PipeBlocks> blocks_;
};

inline constexpr std::size_t kClaimSize = 72;  // bytes

// On its way out.
class PackedMessage {
 public:
  PackedMessage() = default;
  ~PackedMessage();
  PackedMessage(const PackedMessage&) = delete;
  PackedMessage& operator=(const PackedMessage&) = delete;

  // Of an object, pickled by the rule; or of bytes, which have to stay until it is sent.
  bool pack(PyObject* object, PipeEnd& end);
  bool pack(base::BytesView bytes, PipeEnd& end);

  channel::Outgoing outgoing() const noexcept { return channel::Outgoing(bytes_); }
  // It is on its way: the block is the receiver's.
  void mark_sent() noexcept { number_.reset(); }

 private:
  bool keep(PyObject* data);  // steals it
  bool ship(std::span<const channel::Part> parts, PipeEnd& end);
  bool ship_if_large(PipeEnd& end);
  bool pack_parts(PyObject* object, PipeEnd& end);
  void ship_as_one(base::BytesView bytes, PipeEnd& end);

  View view_;
  base::BytesView bytes_;
  std::shared_ptr<shm::PipeBlocks> blocks_;
  int end_ = 0;
  std::optional<std::uint64_t> number_;
  std::array<std::byte, kClaimSize> claim_;
};

// Received.
struct Message {
  nanobind::object bytes;  // that begin with it, if it came in the stream
  Py_ssize_t size = 0;
  std::vector<nanobind::object> parts;  // buffers: a pickle, and what belongs to it

  bool has_slack() const { return PyBytes_GET_SIZE(bytes.ptr()) != size; }
};

// If it is a claim to a block of that pipe: makes it the message that the claim is to. False if that can't
// be.
bool redeem(Message& message, PipeEnd& end);
// The object that belongs to a claim's inner part. A new reference, or null.
PyObject* redeemed(PyObject* bytes);

// As one part.
bool flatten(Message& message);
// Of such a one.
base::BytesView content(const Message& message);

// New references, or null.
PyObject* to_bytes(Message message);
PyObject* unpickled(Message message);
PyObject* attribute(const char* module, const char* name);

}  // namespace procession::bindings
