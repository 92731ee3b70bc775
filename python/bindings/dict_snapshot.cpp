// SPDX-License-Identifier: Apache-2.0
#include "dict_snapshot.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

bool DictSnapshot::is_current(nb::dict dict) {
  bool same = dict.ptr() == dict_;
  std::size_t at = 0;
  Py_ssize_t position = 0;
  for (std::pair<PyObject*, PyObject*> entry;
       same && PyDict_Next(dict.ptr(), &position, &entry.first, &entry.second); ++at) {
    same = at < entries_.size() && entries_[at] == entry;
  }
  if (same && at == entries_.size()) return true;
  dict_ = dict.ptr();
  entries_.clear();
  position = 0;
  for (std::pair<PyObject*, PyObject*> entry;
       PyDict_Next(dict.ptr(), &position, &entry.first, &entry.second);) {
    entries_.push_back(entry);
  }
  return false;
}

void bind_dict_snapshot(nb::module_& module) {
  nb::class_<DictSnapshot>(module, "DictSnapshot", "Notices whether a dict is what it was.")
      .def(nb::init<>())
      .def("is_current", &DictSnapshot::is_current, "dict"_a,
           "Whether it has the entries of the last call, by address; else they are taken down.");
}

}  // namespace procession::bindings
