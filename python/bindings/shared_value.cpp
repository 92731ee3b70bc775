// SPDX-License-Identifier: Apache-2.0
#include "shared_value.hpp"

#include <stdexcept>
#include <utility>

#include "arena_buffer.hpp"
#include "plain.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

constexpr int kPlainBudget = 64;
constexpr std::size_t kAlignment = 16;  // of the parts

// How a value's bytes are to be read.
enum Form : std::uint32_t {
  kPlainValue,  // bindings/plain
  kPickle,
  kParts,  // the number of parts, the size of each, the parts: a pickle and its buffers
  kBytes,  // the content of a bytes object
};

base::BytesView bytes_of(nb::handle bytes) {
  return std::as_bytes(std::span(PyBytes_AS_STRING(bytes.ptr()),
                                 static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))));
}

std::size_t padding(std::size_t size) { return (kAlignment - size % kAlignment) % kAlignment; }

}  // namespace

std::size_t OutgoingValue::size() const {
  std::size_t size = 0;
  for (base::BytesView piece : pieces_) size += piece.size();
  return size;
}

ValueTools::ValueTools() {
  nb::module_ pickle = nb::module_::import_("_pickle");
  dumps_ = pickle.attr("dumps");
  loads_ = pickle.attr("loads");
  support_ = nb::module_::import_("procession.shared");
}

OutgoingValue ValueTools::dump(nb::handle object) const {
  OutgoingValue value;
  int budget = kPlainBudget;
  value.bytes_.reserve(64);
  if (write_plain(object.ptr(), budget, value.bytes_)) {
    value.pieces_.emplace_back(value.bytes_);
    return value;
  }
  value.bytes_.clear();
  if (PyBytes_CheckExact(object.ptr())) {
    value.form_ = kBytes;
    value.owners_.push_back(nb::borrow(object));
    value.pieces_.push_back(bytes_of(object));
    return value;
  }
  value.form_ = kPickle;
  budget = kPlainBudget;
  if (is_plain(object.ptr(), budget)) {
    value.owners_.push_back(dumps_(object, 5));
    value.pieces_.push_back(bytes_of(value.owners_[0]));
    return value;
  }
  nb::object parts = support_.attr("dump")(object);
  value.owners_.push_back(parts[0]);
  base::BytesView pickle = bytes_of(value.owners_[0]);
  nb::list buffers = nb::borrow<nb::list>(parts[1]);
  if (buffers.size() == 0) {
    value.pieces_.push_back(pickle);
    return value;
  }
  value.form_ = kParts;
  for (nb::handle buffer : buffers) value.views_.push_back(std::make_unique<BufferView>(buffer));
  base::ByteWriter head;
  head.number<std::uint64_t>(buffers.size() + 1);
  head.number<std::uint64_t>(pickle.size());
  for (const auto& view : value.views_) head.number<std::uint64_t>(view->bytes().size());
  value.bytes_ = head.take();
  static constexpr std::byte kZeros[kAlignment] = {};
  auto add = [&](base::BytesView piece) {
    value.pieces_.push_back(piece);
    if (padding(piece.size())) value.pieces_.emplace_back(kZeros, padding(piece.size()));
  };
  add(value.bytes_);
  add(pickle);
  for (const auto& view : value.views_) add(view->bytes());
  return value;
}

nb::object ValueTools::load(std::uint32_t form, base::BytesView bytes) const {
  if (form == kPlainValue) return read_plain(bytes);
  if (form == kPickle) return unpickle(bytes);
  if (form == kBytes) return nb::bytes(bytes.data(), bytes.size());
  return load_parts(std::make_shared<base::Bytes>(bytes.begin(), bytes.end()));
}

nb::object ValueTools::load(shm::SharedValue&& value) const {
  if (value.form != kParts) return load(value.form, value.bytes);
  return load_parts(std::make_shared<base::Bytes>(std::move(value.bytes)));
}

nb::object ValueTools::unpickle(base::BytesView pickle) const {
  return loads_(nb::bytes(reinterpret_cast<const char*>(pickle.data()), pickle.size()));
}

nb::object ValueTools::load_parts(std::shared_ptr<base::Bytes> bytes) const {
  base::ByteReader head(*bytes);
  auto count = head.number<std::uint64_t>();
  std::size_t at = (count + 1) * sizeof count;
  at += padding(at);
  nb::list parts;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto size = head.number<std::uint64_t>();
    if (at > bytes->size() || size > bytes->size() - at) {
      throw std::runtime_error("procession: a value is torn");
    }
    std::span<std::byte> part(bytes->data() + at, size);
    parts.append(nb::cast(new ArenaBuffer(part, [bytes] {}), nb::rv_policy::take_ownership));
    at += size + padding(size);
  }
  nb::object pickle = parts[0];
  PyList_SetSlice(parts.ptr(), 0, 1, nullptr);
  return support_.attr("load")(pickle, parts);
}

}  // namespace procession::bindings
