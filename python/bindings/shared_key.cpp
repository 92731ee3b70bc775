// SPDX-License-Identifier: Apache-2.0
#include "shared_key.hpp"

#include <cmath>
#include <limits>

#include "plain.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

constexpr std::uint8_t kTuple = 7;  // as bindings/plain has it
constexpr std::uint8_t kOther = 8;
constexpr int kDeepest = 32;
constexpr Py_ssize_t kLongest = 255;

void append(base::Bytes& out, const void* data, std::size_t size) {
  const auto* bytes = static_cast<const std::byte*>(data);
  out.insert(out.end(), bytes, bytes + size);
}

bool write_plain_key(PyObject* key, base::Bytes& out) {
  int budget = 1;
  std::size_t size = out.size();
  if (write_plain(key, budget, out)) return true;
  out.resize(size);
  return false;
}

// Another that equals it, or its bytes.
void write_stand_in(PyObject* key, base::Bytes& out, nb::handle stand_in, int depth) {
  if (PyObject_Hash(key) == -1 && PyErr_Occurred()) throw nb::python_error();
  nb::object found = stand_in(nb::handle(key));
  nb::object bytes = found[1];
  if (bytes.is_none()) {
    write_key(nb::object(found[0]).ptr(), out, stand_in, depth + 1);
    return;
  }
  std::uint64_t size = nb::cast<nb::bytes>(bytes).size();
  append(out, &kOther, 1);
  append(out, &size, sizeof size);
  append(out, PyBytes_AS_STRING(bytes.ptr()), size);
}

}  // namespace

bool write_key(PyObject* key, base::Bytes& out, nb::handle stand_in, int depth) {
  if (PyUnicode_CheckExact(key) || key == Py_None || PyBytes_CheckExact(key) ||
      PyLong_CheckExact(key)) {
    if (write_plain_key(key, out)) return true;
  } else if (PyBool_Check(key)) {
    nb::object number = nb::steal(PyLong_FromLong(key == Py_True));
    write_plain_key(number.ptr(), out);
    return false;
  } else if (PyFloat_CheckExact(key)) {
    double number = PyFloat_AS_DOUBLE(key);
    constexpr double kInteger = 9223372036854775808.0;  // 2^63
    if (std::isnan(number)) {
      nb::object nan = nb::steal(PyFloat_FromDouble(std::numeric_limits<double>::quiet_NaN()));
      return write_plain_key(nan.ptr(), out);
    }
    if (std::isinf(number) || number != std::trunc(number)) return write_plain_key(key, out);
    if (number >= -kInteger && number < kInteger) {
      nb::object whole = nb::steal(PyLong_FromDouble(number));
      write_plain_key(whole.ptr(), out);
      return false;
    }
  } else if (PyTuple_CheckExact(key) && PyTuple_GET_SIZE(key) <= kLongest && depth < kDeepest) {
    auto length = static_cast<std::uint8_t>(PyTuple_GET_SIZE(key));
    append(out, &kTuple, 1);
    append(out, &length, 1);
    bool is_exact = true;
    for (Py_ssize_t i = 0; i < length; ++i) {
      is_exact &= write_key(PyTuple_GET_ITEM(key, i), out, stand_in, depth + 1);
    }
    return is_exact;
  }
  write_stand_in(key, out, stand_in, depth);
  return false;
}

}  // namespace procession::bindings
