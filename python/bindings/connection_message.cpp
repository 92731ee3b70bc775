// SPDX-License-Identifier: Apache-2.0
#include "connection_message.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "arena_buffer.hpp"
#include "base/error.hpp"
#include "large_value.hpp"
#include "plain.hpp"
#include "shm/own_block.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

constexpr int kPlainBudget = 64;

base::BytesView bytes_of(PyObject* bytes) {
  return std::as_bytes(
      std::span(PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))));
}

// Of what was looked for once, and may have been missing then: with an exception set.
bool is_there(PyObject* attribute) {
  if (!attribute && !PyErr_Occurred()) {
    PyErr_SetString(PyExc_ImportError, "a module that connections need could not be imported");
  }
  return attribute != nullptr;
}

}  // namespace

// --- the way

shm::PipeBlocks* PipeEnd::blocks() {
  if (!blocks_ && name_) find(false);
  return blocks_.get();
}

void PipeEnd::find(bool arrives) {
  try {
    blocks_ = std::make_shared<shm::PipeBlocks>(*name_, arrives);
  } catch (const std::exception&) {  // of another session, or there is no memory: no blocks then
  }
  name_.reset();
}

void PipeEnd::announce_reader(Reads what) {
  auto bit = static_cast<std::uint32_t>(what);
  if (announced_ & bit) return;
  announced_ |= bit;
  if (shm::PipeBlocks* found = blocks()) found->announce_reader(end_, bit);
}

shm::PipeBlocks* PipeEnd::open_way(Reads what) {
  shm::PipeBlocks* found = blocks();
  return found && found->has_reader(1 - end_, static_cast<std::uint32_t>(what)) ? found : nullptr;
}

// --- claims

namespace {

// What a claim says.
struct Claimed {
  std::uint64_t session;
  std::uint64_t cell;
  std::uint32_t generation;
  std::uint32_t end;  // that has sent
  std::uint64_t number;
};

// The pickle of a call of procession.connection._redeem with those bytes.
struct Claim {
  static constexpr std::string_view kBefore =
      "\x80\x05\x8c\x15procession.connection\x8c\x07_redeem\x93"
      "C ";
  static constexpr std::string_view kAfter = "\x85R.";

  static void write(std::span<std::byte, kClaimSize> to, const Claimed& claimed) {
    std::memcpy(to.data(), kBefore.data(), kBefore.size());
    std::memcpy(to.data() + kBefore.size(), &claimed, sizeof claimed);
    std::memcpy(to.data() + kBefore.size() + sizeof claimed, kAfter.data(), kAfter.size());
  }

  static std::optional<Claimed> read(base::BytesView from) {
    if (from.size() != kClaimSize ||
        std::memcmp(from.data(), kBefore.data(), kBefore.size()) != 0 ||
        std::memcmp(from.data() + kClaimSize - kAfter.size(), kAfter.data(), kAfter.size()) != 0) {
      return {};
    }
    Claimed claimed{};
    std::memcpy(&claimed, from.data() + kBefore.size(), sizeof claimed);
    return claimed;
  }
};
static_assert(sizeof(Claimed) == ' ');  // the length that stands before it
static_assert(Claim::kBefore.size() + sizeof(Claimed) + Claim::kAfter.size() == kClaimSize);

}  // namespace

// --- out

using channel::Part;

PackedMessage::~PackedMessage() {
  if (number_) blocks_->take_back(end_, *number_);
}

bool PackedMessage::keep(PyObject* data) {
  bool is_kept = data && view_.of(data);
  Py_XDECREF(data);
  bytes_ = view_.bytes();
  return is_kept;
}

// False if the stream has to do: the way is full, or memory is.
bool PackedMessage::ship(std::span<const Part> parts, PipeEnd& end) {
  blocks_ = end.shared();
  end_ = end.end();
  shm::Commons& commons = shm::Commons::instance();
  nb::gil_scoped_release unlocked;
  try {
    shm::OwnBlock block(commons, commons.allocate(channel::room_for(parts)));
    channel::write_parts(commons.bytes(block.get()), parts);
    shm::Block whole = block.get();
    std::vector<std::uint64_t> numbers = blocks_->hand_over(end_, {&whole, 1});
    if (!numbers.empty()) {
      number_ = numbers[0];
      block.let_go();
      shm::CellName cell = blocks_->cell()->name();
      Claim::write(claim_, {cell.session, cell.offset, cell.generation,
                            static_cast<std::uint32_t>(end_), *number_});
      bytes_ = claim_;
    }
  } catch (const base::OsError&) {
  }
  return number_.has_value();
}

bool PackedMessage::pack(base::BytesView bytes, PipeEnd& end) {
  bytes_ = bytes;
  if (bytes.size() >= kLargeMessage && end.open_way(Reads::kBytes)) ship_as_one(bytes, end);
  return true;
}

void PackedMessage::ship_as_one(base::BytesView bytes, PipeEnd& end) {
  Part part{{bytes, {}, {}}};
  ship({&part, 1}, end);
}

namespace {

// As one that knows of no way beside would have pickled it.
PyObject* in_band(PyObject* pickle, PyObject* buffers) {
  static PyObject* const join = attribute("procession.out_of_band", "in_band");
  return is_there(join) ? PyObject_CallFunctionObjArgs(join, pickle, buffers, nullptr) : nullptr;
}

// As it goes in the stream.
PyObject* pickled(PyObject* object, bool is_plain) {
  static PyObject* const plainly = attribute("_pickle", "dumps");
  static PyObject* const by_the_rule = attribute("procession.connection", "_dumps");
  if (!is_there(plainly) || !is_there(by_the_rule)) return nullptr;
  return PyObject_CallOneArg(is_plain ? plainly : by_the_rule, object);
}

}  // namespace

bool PackedMessage::pack(PyObject* object, PipeEnd& end) {
  if (auto value = LargeValue::of(object, kLargeMessage); value && end.open_way(Reads::kObjects)) {
    Part part{value->pieces()};
    if (ship({&part, 1}, end)) return true;
  }
  int budget = kPlainBudget;
  // Of something large, that one would make a buffer that is half as large again.
  bool is_large = PyUnicode_CheckExact(object) &&
                  PyUnicode_GET_LENGTH(object) > static_cast<Py_ssize_t>(kLargeMessage);
  bool is_one = !is_large && is_plain(object, budget);
  if (!is_one && end.is_known()) return pack_parts(object, end);
  return keep(pickled(object, is_one)) && ship_if_large(end);
}

bool PackedMessage::ship_if_large(PipeEnd& end) {
  if (bytes_.size() >= kLargeMessage && end.open_way(Reads::kObjects)) ship_as_one(bytes_, end);
  return true;
}

bool PackedMessage::pack_parts(PyObject* object, PipeEnd& end) {
  static PyObject* const apart = attribute("procession.connection", "_dumps_apart");
  nb::object both = nb::steal(is_there(apart) ? PyObject_CallOneArg(apart, object) : nullptr);
  if (!both.is_valid()) return false;
  PyObject* pickle = PyTuple_GetItem(both.ptr(), 0);
  PyObject* buffers = PyTuple_GetItem(both.ptr(), 1);
  Py_ssize_t count = buffers ? PyList_Size(buffers) : -1;
  if (count < 0 || !keep(Py_NewRef(pickle))) return false;
  if (count == 0) return ship_if_large(end);
  if (end.open_way(Reads::kObjects)) {
    std::vector<View> views(static_cast<std::size_t>(count));
    std::vector<Part> parts{{{bytes_, {}, {}}}};
    for (std::size_t i = 0; i < views.size(); ++i) {
      if (!views[i].of(PyList_GET_ITEM(buffers, static_cast<Py_ssize_t>(i)))) return false;
      parts.push_back({{views[i].bytes(), {}, {}}});
    }
    if (ship(parts, end)) return true;
  }
  view_.release();
  return keep(in_band(pickle, buffers));
}

// --- in

namespace {

// The parts of a message that lies in a block, which is released with the last of them.
std::vector<nb::object> parts_of(shm::Block block) {
  auto holder = std::make_shared<shm::OwnBlock>(shm::Commons::instance(), block);
  auto found = channel::read_parts(shm::Commons::instance().bytes(block));
  if (!found || found->empty()) throw std::runtime_error("the memory of a message is corrupted");
  std::vector<nb::object> parts;
  for (std::span<std::byte> part : *found) {
    parts.push_back(nb::cast(new ArenaBuffer(part, [holder] {}), nb::rv_policy::take_ownership));
  }
  return parts;
}

void set_lost(const std::exception& error) {
  PyErr_Format(PyExc_OSError, "a message is lost that was to be in the session's memory: %s",
               error.what());
}

bool redeem(const Claimed& claimed, shm::PipeBlocks& blocks, Message& message) {
  try {
    if (claimed.end > 1) throw std::runtime_error("a pipe has two ends");
    message.bytes = {};
    message.parts = parts_of(blocks.take(static_cast<int>(claimed.end), claimed.number));
    message.size = static_cast<Py_ssize_t>(content(message).size());
    return true;
  } catch (const std::exception& error) {
    set_lost(error);
    return false;
  }
}

}  // namespace

bool redeem(Message& message, PipeEnd& end) {
  std::optional<Claimed> claimed = Claim::read(content(message));
  shm::PipeBlocks* blocks = claimed ? end.blocks() : nullptr;
  if (!blocks) return true;  // not ours to redeem: an object yet, if it is unpickled
  shm::CellName own = blocks->cell()->name();
  bool is_own = claimed->session == own.session && claimed->cell == own.offset &&
                claimed->generation == own.generation;
  return !is_own || redeem(*claimed, *blocks, message);
}

PyObject* redeemed(PyObject* bytes) {
  Claimed claimed{};
  if (!PyBytes_Check(bytes) || bytes_of(bytes).size() != sizeof claimed) {
    PyErr_SetString(PyExc_ValueError, "this is no claim to a message");
    return nullptr;
  }
  std::memcpy(&claimed, bytes_of(bytes).data(), sizeof claimed);
  Message message;
  try {
    shm::PipeBlocks blocks({claimed.session, claimed.cell, claimed.generation});
    if (!redeem(claimed, blocks, message)) return nullptr;
  } catch (const std::exception& error) {
    set_lost(error);
    return nullptr;
  }
  return unpickled(std::move(message));
}

base::BytesView content(const Message& message) {
  if (!message.parts.empty()) return nb::inst_ptr<ArenaBuffer>(message.parts[0])->bytes;
  return bytes_of(message.bytes.ptr()).first(static_cast<std::size_t>(message.size));
}

bool flatten(Message& message) {
  if (message.parts.size() < 2) return true;
  nb::list buffers;
  for (std::size_t i = 1; i < message.parts.size(); ++i) buffers.append(message.parts[i]);
  PyObject* bytes = in_band(message.parts[0].ptr(), buffers.ptr());
  if (!bytes) return false;
  message = {nb::steal(bytes), PyBytes_GET_SIZE(bytes), {}};
  return true;
}

PyObject* to_bytes(Message message) {
  if (!message.parts.empty()) {
    base::BytesView bytes = content(message);
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()), message.size);
  }
  PyObject* bytes = message.bytes.release().ptr();
  if (PyBytes_GET_SIZE(bytes) != message.size) _PyBytes_Resize(&bytes, message.size);
  return bytes;
}

namespace {

PyObject* unpickled_parts(PyObject* loads, const Message& message) {
  nb::list buffers;
  for (std::size_t i = 1; i < message.parts.size(); ++i) buffers.append(message.parts[i]);
  nb::object arguments = nb::make_tuple(message.parts[0]);
  nb::dict keywords;
  keywords["buffers"] = buffers;
  return PyObject_Call(loads, arguments.ptr(), keywords.ptr());
}

}  // namespace

PyObject* unpickled(Message message) {
  static PyObject* const loads = attribute("_pickle", "loads");
  if (!is_there(loads)) return nullptr;
  if (!message.parts.empty()) return unpickled_parts(loads, message);
  if (!message.has_slack()) return PyObject_CallOneArg(loads, message.bytes.ptr());
  nb::object view = nb::steal(PyMemoryView_FromObject(message.bytes.ptr()));
  if (!view.is_valid()) return nullptr;
  nb::object part = nb::steal(PySequence_GetSlice(view.ptr(), 0, message.size));
  return part.is_valid() ? PyObject_CallOneArg(loads, part.ptr()) : nullptr;
}

PyObject* attribute(const char* module, const char* name) {
  PyObject* imported = PyImport_ImportModule(module);
  PyObject* found = imported ? PyObject_GetAttrString(imported, name) : nullptr;
  Py_XDECREF(imported);
  return found;
}

}  // namespace procession::bindings
