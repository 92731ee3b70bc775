// SPDX-License-Identifier: Apache-2.0
// bindings/shared_containers: the engine's map, sequence and counter, for Python. Values are dumped and
// loaded outside of their locks.
#pragma once

#include <nanobind/nanobind.h>

#include "memory_error.hpp"
#include "shm/shared_store.hpp"
#include "synchronize.hpp"

namespace procession::bindings {

// Values of which more is copied are copied without the GIL.
inline constexpr std::size_t kMuch = 256 << 10;  // bytes

// Calls `change`, which changes a container by so many bytes. A full memory is a MemoryError.
template <class Change>
auto in_memory(std::size_t size, Change change) {
  return with_memory_error("a shared container", [&] {
    if (size <= kMuch) return change();
    nanobind::gil_scoped_release unlocked;
    return change();
  });
}

inline nanobind::tuple to_python(const shm::SharedVersion& version) {
  return nanobind::make_tuple(version.table, version.at);
}

inline shm::SharedVersion version_of(const nanobind::tuple& version) {
  return {nanobind::cast<std::uint64_t>(version[0]), nanobind::cast<std::uint64_t>(version[1])};
}

void bind_shared_map(nanobind::module_& module);
void bind_shared_sequence(nanobind::module_& module);  // and the counter

}  // namespace procession::bindings
