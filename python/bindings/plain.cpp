// SPDX-License-Identifier: Apache-2.0
#include "plain.hpp"

#include <cstring>
#include <stdexcept>

#include "pool/board.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

enum class Tag : std::uint8_t { kNone, kTrue, kFalse, kInt, kFloat, kStr, kBytes, kTuple };

constexpr Py_ssize_t kLargest = pool::kLargestInline;  // bytes of a str's or bytes' content
constexpr Py_ssize_t kLongest = 255;                   // of a tuple

void append(base::Bytes& out, const void* data, std::size_t size) {
  std::size_t at = out.size();
  out.resize(at + size);
  std::memcpy(out.data() + at, data, size);
}

template <class Number>
void append_tagged(base::Bytes& out, Tag tag, Number number) {
  std::byte record[1 + sizeof number];
  record[0] = static_cast<std::byte>(tag);
  std::memcpy(record + 1, &number, sizeof number);
  append(out, record, sizeof record);
}

bool append_str(PyObject* object, base::Bytes& out) {
  auto kind = static_cast<std::uint8_t>(PyUnicode_KIND(object));
  std::uint64_t length = static_cast<std::uint64_t>(PyUnicode_GET_LENGTH(object));
  if (length > kLargest / 4) return false;
  append_tagged(out, Tag::kStr, kind);
  append(out, &length, sizeof length);
  append(out, PyUnicode_DATA(object), length * kind);
  return true;
}

base::BytesView take(base::BytesView& in, std::uint64_t size) {
  if (size > in.size()) throw std::runtime_error("procession: a value ends early");
  base::BytesView taken = in.first(size);
  in = in.subspan(size);
  return taken;
}

template <class Number>
Number take_number(base::BytesView& in) {
  Number number;
  std::memcpy(&number, take(in, sizeof number).data(), sizeof number);
  return number;
}

nb::object checked(PyObject* made) {
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

nb::object read_str(base::BytesView& in) {
  auto kind = take_number<std::uint8_t>(in);
  auto length = take_number<std::uint64_t>(in);
  if ((kind != 1 && kind != 2 && kind != 4) || length > kLargest) {
    throw std::runtime_error("procession: a value is torn");
  }
  base::BytesView data = take(in, length * kind);
  return checked(PyUnicode_FromKindAndData(kind, data.data(), static_cast<Py_ssize_t>(length)));
}

nb::object read_tuple(base::BytesView& in) {
  auto length = take_number<std::uint8_t>(in);
  nb::object tuple = checked(PyTuple_New(length));
  for (Py_ssize_t i = 0; i < length; ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), i, read_plain(in).release().ptr());
  }
  return tuple;
}

}  // namespace

bool is_plain(PyObject* object, int& budget) {
  if (--budget < 0) return false;
  if (object == Py_None || PyBool_Check(object) || PyLong_CheckExact(object) ||
      PyFloat_CheckExact(object) || PyUnicode_CheckExact(object)) {
    return true;
  }
  if (PyBytes_CheckExact(object)) return PyBytes_GET_SIZE(object) <= kLargest;
  if (PyTuple_CheckExact(object)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i) {
      if (!is_plain(PyTuple_GET_ITEM(object, i), budget)) return false;
    }
    return true;
  }
  if (PyList_CheckExact(object)) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i) {
      if (!is_plain(PyList_GET_ITEM(object, i), budget)) return false;
    }
    return true;
  }
  if (PyDict_CheckExact(object)) {
    PyObject* key = nullptr;
    PyObject* value = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);) {
      if (!is_plain(key, budget) || !is_plain(value, budget)) return false;
    }
    return true;
  }
  return false;
}

bool write_plain(PyObject* object, int& budget, base::Bytes& out) {
  if (--budget < 0) return false;
  if (object == Py_None || PyBool_Check(object)) {
    Tag tag = object == Py_None ? Tag::kNone : object == Py_True ? Tag::kTrue : Tag::kFalse;
    out.push_back(static_cast<std::byte>(tag));
    return true;
  }
  if (PyLong_CheckExact(object)) {
    int overflow = 0;
    std::int64_t number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow == 0) append_tagged(out, Tag::kInt, number);
    return overflow == 0;
  }
  if (PyFloat_CheckExact(object)) {
    append_tagged(out, Tag::kFloat, PyFloat_AS_DOUBLE(object));
    return true;
  }
  if (PyUnicode_CheckExact(object)) return append_str(object, out);
  if (PyBytes_CheckExact(object)) {
    std::uint64_t size = static_cast<std::uint64_t>(PyBytes_GET_SIZE(object));
    if (size >= kLargest) return false;
    append_tagged(out, Tag::kBytes, size);
    append(out, PyBytes_AS_STRING(object), size);
    return true;
  }
  if (!PyTuple_CheckExact(object) || PyTuple_GET_SIZE(object) > kLongest) return false;
  append_tagged(out, Tag::kTuple, static_cast<std::uint8_t>(PyTuple_GET_SIZE(object)));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i) {
    if (!write_plain(PyTuple_GET_ITEM(object, i), budget, out)) return false;
  }
  return true;
}

nb::object read_plain(base::BytesView& in) {
  switch (static_cast<Tag>(take_number<std::uint8_t>(in))) {
    case Tag::kNone:
      return nb::none();
    case Tag::kTrue:
      return nb::borrow(Py_True);
    case Tag::kFalse:
      return nb::borrow(Py_False);
    case Tag::kInt:
      return checked(PyLong_FromLongLong(take_number<std::int64_t>(in)));
    case Tag::kFloat:
      return checked(PyFloat_FromDouble(take_number<double>(in)));
    case Tag::kStr:
      return read_str(in);
    case Tag::kBytes: {
      base::BytesView data = take(in, take_number<std::uint64_t>(in));
      return nb::bytes(data.data(), data.size());
    }
    case Tag::kTuple:
      return read_tuple(in);
  }
  throw std::runtime_error("procession: a value is torn");
}

}  // namespace procession::bindings
