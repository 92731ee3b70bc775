// SPDX-License-Identifier: Apache-2.0
// bindings/dict_snapshot: notices cheaply whether a dict is what it was.
#pragma once

#include <nanobind/nanobind.h>

#include <utility>
#include <vector>

namespace procession::bindings {

// The entries that a dict had, by address. No reference is taken: after a fork, each count that is
// written to would copy a page. An address may have come to name another object since.
class DictSnapshot {
 public:
  // Whether `dict` has the entries that it had at the last call; takes them down otherwise.
  bool is_current(nanobind::dict dict);

 private:
  std::vector<std::pair<PyObject*, PyObject*>> entries_;
  PyObject* dict_ = nullptr;
};

void bind_dict_snapshot(nanobind::module_& module);

}  // namespace procession::bindings
