// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_map.hpp"

#include <optional>
#include <utility>

#include "plain.hpp"
#include "shared_containers.hpp"
#include "shared_key.hpp"
#include "shared_value.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

constexpr std::byte kPickled{0xff};  // ahead of a key that isn't plain

class Map {
 public:
  Map() : map_(in_memory(0, [] { return std::make_unique<shm::SharedMap>(); })) { find_tools(); }
  explicit Map(const shm::CellName& name) : map_(std::make_unique<shm::SharedMap>(name)) {
    find_tools();
  }

  shm::SharedMap& engine() const noexcept { return *map_; }

  // Nothing if it isn't there.
  std::optional<nb::object> find(nb::handle key, shm::SharedVersion* version = nullptr) {
    Key wanted(*this, key);
    shm::SharedValue value = std::exchange(received_, {});
    bool is_there = map_->get(wanted.bytes, value, version);
    std::optional<nb::object> object;
    if (is_there) object = tools_.load(std::move(value));
    keep(std::move(value));
    return object;
  }

  nb::object at(nb::handle key) {
    auto value = find(key);
    if (!value) raise_key_error(key);
    return *value;
  }

  nb::object get(nb::handle key, nb::object otherwise) {
    auto value = find(key);
    return value ? *value : otherwise;
  }

  bool contains(nb::handle key) { return map_->contains(Key(*this, key).bytes); }

  bool set(nb::handle key, nb::handle value, const shm::SharedVersion* expected = nullptr) {
    Key wanted(*this, key);
    OutgoingValue outgoing = tools_.dump(value);
    base::Bytes shown;
    if (!wanted.is_exact) shown = shown_key(key);
    return in_memory(outgoing.size(), [&] {
      return map_->set({wanted.bytes, shown}, outgoing.input(), expected);
    });
  }

  void put(nb::handle key, nb::handle value) { set(key, value); }

  void remove(nb::handle key) {
    if (!map_->take(Key(*this, key).bytes)) raise_key_error(key);
  }

  nb::object pop(nb::handle key, const nb::args& otherwise) {
    if (otherwise.size() > 1) {
      PyErr_Format(PyExc_TypeError, "pop expected at most 2 arguments, got %zu",
                   otherwise.size() + 1);
      throw nb::python_error();
    }
    shm::SharedValue value;
    if (map_->take(Key(*this, key).bytes, &value)) return tools_.load(std::move(value));
    if (otherwise.size() == 0) raise_key_error(key);
    return otherwise[0];
  }

  nb::tuple pop_item() {
    shm::SharedValue key;
    shm::SharedValue value;
    if (!map_->take_last(key, value)) throw nb::key_error("popitem(): dictionary is empty");
    return nb::make_tuple(load_key(key.form, key.bytes), tools_.load(std::move(value)));
  }

  nb::object set_default(nb::handle key, nb::object value) {
    while (true) {
      if (auto found = find(key)) return *found;
      shm::SharedVersion none;
      if (set(key, value, &none)) return value;
    }
  }

  // Calls function(value) until nobody else changed the value meanwhile, and sets what it returned.
  nb::object update_with(nb::handle key, nb::handle function, const nb::args& otherwise) {
    while (true) {
      shm::SharedVersion version;
      auto value = find(key, &version);
      if (!value && otherwise.size() == 0) raise_key_error(key);
      nb::object changed = function(value ? *value : nb::object(otherwise[0]));
      if (set(key, changed, &version)) return changed;
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
  }

  nb::list keys() {
    shm::SharedValues keys;
    in_memory(0, [&] { map_->snapshot(&keys, nullptr); });
    nb::list list;
    for (std::size_t i = 0; i < keys.items.size(); ++i) {
      list.append(load_key(keys.items[i].form, keys.at(i)));
    }
    return list;
  }

  nb::list values() {
    shm::SharedValues values;
    map_->snapshot(nullptr, &values);
    nb::list list;
    for (std::size_t i = 0; i < values.items.size(); ++i) {
      list.append(tools_.load(values.items[i].form, values.at(i)));
    }
    return list;
  }

  nb::list items() {
    shm::SharedValues keys;
    shm::SharedValues values;
    map_->snapshot(&keys, &values);
    nb::list list;
    for (std::size_t i = 0; i < keys.items.size(); ++i) {
      list.append(nb::make_tuple(load_key(keys.items[i].form, keys.at(i)),
                                 tools_.load(values.items[i].form, values.at(i))));
    }
    return list;
  }

 private:
  static constexpr std::size_t kKept = 2 << 20;

  // A key's bytes, in memory that is used again: another thread, or the key's own code, may be at the
  // same meanwhile.
  struct Key {
    Key(Map& of, nb::handle key) : map(of), bytes(std::exchange(of.scratch_, {})) {
      bytes.clear();
      is_exact = write_key(key.ptr(), bytes, of.stand_in_);
    }
    ~Key() { map.scratch_ = std::move(bytes); }
    Key(const Key&) = delete;

    Map& map;
    base::Bytes bytes;
    bool is_exact = true;
  };

  void find_tools() {
    stand_in_ = nb::module_::import_("procession.shared").attr("stand_in");
    dump_key_ = nb::module_::import_("procession.shared").attr("dump_key");
  }

  void keep(shm::SharedValue&& value) {
    if (value.bytes.capacity() <= kKept) received_ = std::move(value);
  }

  [[noreturn]] static void raise_key_error(nb::handle key) {
    PyErr_SetObject(PyExc_KeyError, nb::make_tuple(nb::borrow(key)).ptr());
    throw nb::python_error();
  }

  // How a key is written that is another object than its bytes would make.
  base::Bytes shown_key(nb::handle key) {
    base::Bytes shown;
    int budget = 64;
    if (write_plain(key.ptr(), budget, shown)) return shown;
    nb::bytes pickle = nb::cast<nb::bytes>(dump_key_(key));
    base::BytesView bytes = base::as_bytes({pickle.c_str(), pickle.size()});
    shown.assign(1, kPickled);
    shown.insert(shown.end(), bytes.begin(), bytes.end());
    return shown;
  }

  nb::object load_key(std::uint32_t form, base::BytesView bytes) {
    if (form == 1 && !bytes.empty() && bytes[0] == kPickled) {
      return tools_.unpickle(bytes.subspan(1));
    }
    return read_plain(bytes);
  }

  std::unique_ptr<shm::SharedMap> map_;
  ValueTools tools_;
  nb::object stand_in_;
  nb::object dump_key_;
  base::Bytes scratch_;
  shm::SharedValue received_;
};

}  // namespace

void bind_shared_map(nb::module_& module) {
  nb::class_<Map> map(module, "SharedMap", "Keys and values that processes share.");
  map.def(nb::init<>())
      .def("__getstate__", [](Map& self) { return to_python(self.engine().cell()->name()); })
      .def("__setstate__",
           [](Map& self, const nb::tuple& name) { new (&self) Map(cell_name(name)); })
      .def(
          "keep", [](Map& self) { self.engine().cell()->keep(); },
          "Have it stay until the session ends, since its name is on its way to somebody.")
      .def("__getitem__", &Map::at, "key"_a.none())
      .def("__setitem__", &Map::put, "key"_a.none(), "value"_a.none())
      .def("__delitem__", &Map::remove, "key"_a.none())
      .def("__contains__", &Map::contains, "key"_a.none())
      .def("__len__", [](Map& self) { return self.engine().size(); })
      .def("get", &Map::get, "key"_a.none(), "default"_a.none() = nb::none(),
           "The key's value, or the default.")
      .def("pop", &Map::pop, "key"_a.none(), "default"_a,
           "Remove the key; its value, or the default if it isn't there.")
      .def("popitem", &Map::pop_item, "Remove the key that came last; it and its value.")
      .def("setdefault", &Map::set_default, "key"_a.none(), "default"_a.none() = nb::none(),
           "The key's value, which is the default from now on if it isn't there.")
      .def(
          "clear", [](Map& self) { in_memory(0, [&] { self.engine().clear(); }); },
          "Remove all keys.")
      .def("_update_with", &Map::update_with, "key"_a.none(), "function"_a, "default"_a)
      .def("_keys", &Map::keys)
      .def("_values", &Map::values)
      .def("_items", &Map::items);
  module.def(
      "key_bytes",
      [](nb::handle key, nb::handle stand_in) {
        base::Bytes bytes;
        write_key(key.ptr(), bytes, stand_in);
        return nb::bytes(bytes.data(), bytes.size());
      },
      "key"_a.none(), "stand_in"_a, "By what a shared dict compares this key.");
}

}  // namespace procession::bindings
