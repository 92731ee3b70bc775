// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_sequence.hpp"

#include <nanobind/stl/vector.h>

#include <memory>
#include <utility>
#include <vector>

#include "shared_containers.hpp"
#include "shared_value.hpp"
#include "shm/shared_counter.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

[[noreturn]] void no_index(const char* what) {
  PyErr_SetString(PyExc_IndexError, what);
  throw nb::python_error();
}

class Row {
 public:
  Row() : row_(in_memory(0, [] { return std::make_unique<shm::SharedSequence>(); })) {}
  explicit Row(const shm::CellName& name) : row_(std::make_unique<shm::SharedSequence>(name)) {}

  shm::SharedSequence& engine() const noexcept { return *row_; }

  nb::object get(std::int64_t index) {
    shm::SharedValue value = std::exchange(received_, {});
    if (!row_->get(index, value)) no_index("list index out of range");
    nb::object object = tools_.load(std::move(value));
    if (value.bytes.capacity() <= kKept) received_ = std::move(value);
    return object;
  }

  void set(std::int64_t index, nb::handle value) {
    OutgoingValue outgoing = tools_.dump(value);
    bool is_set = in_memory(outgoing.size(), [&] { return row_->set(index, outgoing.input()); });
    if (!is_set) no_index("list assignment index out of range");
  }

  void append(nb::handle value) {
    OutgoingValue outgoing = tools_.dump(value);
    shm::SharedInput input = outgoing.input();
    in_memory(outgoing.size(), [&] { row_->append({&input, 1}); });
  }

  // All at once.
  void extend(const nb::list& values) {
    Many many(tools_, values);
    in_memory(many.size, [&] { row_->append(many.inputs); });
  }

  void insert(std::int64_t index, nb::handle value) {
    OutgoingValue outgoing = tools_.dump(value);
    in_memory(outgoing.size(), [&] { row_->insert(index, outgoing.input()); });
  }

  nb::object pop(std::int64_t index) {
    shm::SharedValue value;
    if (!row_->take(index, &value)) {
      no_index(row_->size() == 0 ? "pop from empty list" : "pop index out of range");
    }
    return tools_.load(std::move(value));
  }

  void remove(std::int64_t index) {
    if (!row_->take(index)) no_index("list assignment index out of range");
  }

  bool remove_if(std::int64_t index, const nb::tuple& version) {
    shm::SharedVersion expected = version_of(version);
    return row_->take(index, nullptr, &expected);
  }

  // All values, and the version.
  nb::tuple snapshot() {
    shm::SharedValues values;
    shm::SharedVersion version = row_->snapshot(values);
    return nb::make_tuple(load(values), to_python(version));
  }

  // Some of them, as a list.
  nb::list part(std::uint64_t first, std::uint64_t count) {
    shm::SharedValues values;
    row_->snapshot(values, first, count);
    return load(values);
  }

  nb::tuple version() {
    std::uint64_t size = 0;
    shm::SharedVersion version = row_->version(size);
    return nb::make_tuple(size, to_python(version));
  }

  bool arrange(const nb::tuple& version, const std::vector<std::uint64_t>& order,
               const nb::list& values) {
    Many many(tools_, values);
    return in_memory(many.size,
                     [&] { return row_->arrange(version_of(version), order, many.inputs); });
  }

 private:
  static constexpr std::size_t kKept = 2 << 20;

  struct Many {
    Many(const ValueTools& tools, const nb::list& values) {
      outgoing.reserve(values.size());
      for (nb::handle value : values) outgoing.push_back(tools.dump(value));
      for (const OutgoingValue& each : outgoing) {
        inputs.push_back(each.input());
        size += each.size();
      }
    }
    std::vector<OutgoingValue> outgoing;
    std::vector<shm::SharedInput> inputs;
    std::size_t size = 0;
  };

  nb::list load(const shm::SharedValues& values) {
    nb::list list;
    for (std::size_t i = 0; i < values.items.size(); ++i) {
      list.append(tools_.load(values.items[i].form, values.at(i)));
    }
    return list;
  }

  std::unique_ptr<shm::SharedSequence> row_;
  ValueTools tools_;
  shm::SharedValue received_;
};

std::int64_t add(shm::SharedCounter& counter, std::int64_t amount) {
  std::int64_t sum = 0;
  if (counter.add(amount, sum)) return sum;
  PyErr_SetString(PyExc_OverflowError, "a shared counter has 64 bits");
  throw nb::python_error();
}

}  // namespace

void bind_shared_sequence(nb::module_& module) {
  nb::class_<Row>(module, "SharedSequence", "A row of values that processes share.")
      .def(nb::init<>())
      .def("__getstate__", [](Row& self) { return to_python(self.engine().cell()->name()); })
      .def("__setstate__",
           [](Row& self, const nb::tuple& name) { new (&self) Row(cell_name(name)); })
      .def(
          "keep", [](Row& self) { self.engine().cell()->keep(); },
          "Have it stay until the session ends, since its name is on its way to somebody.")
      .def("__len__", [](Row& self) { return self.engine().size(); })
      .def("_get", &Row::get, "index"_a)
      .def("_set", &Row::set, "index"_a, "value"_a.none())
      .def("_delete", &Row::remove, "index"_a)
      .def("append", &Row::append, "value"_a.none(), "Add a value at the end.")
      .def("_extend", &Row::extend, "values"_a)
      .def("insert", &Row::insert, "index"_a, "value"_a.none(), "Add a value ahead of an index.")
      .def("pop", &Row::pop, "index"_a = -1, "Remove a value and return it.")
      .def(
          "clear", [](Row& self) { in_memory(0, [&] { self.engine().clear(); }); },
          "Remove all values.")
      .def("_remove_if", &Row::remove_if, "index"_a, "version"_a)
      .def("_snapshot", &Row::snapshot)
      .def("_part", &Row::part, "first"_a, "count"_a)
      .def("_version", &Row::version)
      .def("_arrange", &Row::arrange, "version"_a, "order"_a, "values"_a);

  using Counter = shm::SharedCounter;
  nb::class_<Counter>(module, "SharedCounter", "A number that processes count with.")
      .def(
          "__init__",
          [](Counter& self, std::int64_t value) {
            in_memory(0, [&] { new (&self) Counter(value); });
          },
          "value"_a = 0)
      .def("__getstate__", [](Counter& self) { return to_python(self.cell()->name()); })
      .def("__setstate__",
           [](Counter& self, const nb::tuple& name) { new (&self) Counter(cell_name(name)); })
      .def(
          "keep", [](Counter& self) { self.cell()->keep(); },
          "Have it stay until the session ends, since its name is on its way to somebody.")
      .def_prop_ro("value", &Counter::value, "What it is now.")
      .def("add", &add, "n"_a = 1, "Add to it in one step; the new value.")
      .def("set", &Counter::set, "value"_a, "Have it be this.")
      .def("exchange", &Counter::exchange, "value"_a, "The same; what it was.");
}

}  // namespace procession::bindings
