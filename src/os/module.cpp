// SPDX-License-Identifier: Apache-2.0
#include "os/module.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>

namespace procession::os {

namespace {

// A module as dl_iterate_phdr(3) shows it, within its callback.
class Module {
 public:
  explicit Module(const dl_phdr_info& info) : info_(info) {}

  std::string_view name() const { return info_.dlpi_name ? info_.dlpi_name : ""; }
  std::uintptr_t base() const { return info_.dlpi_addr; }

  bool contains(std::uintptr_t address) const {
    for (const ElfW(Phdr) & segment : segments()) {
      if (segment.p_type != PT_LOAD) continue;
      if (address - base() - segment.p_vaddr < segment.p_memsz) return true;
    }
    return false;
  }

  std::string build() const {
    for (const ElfW(Phdr) & segment : segments()) {
      if (segment.p_type != PT_NOTE) continue;
      std::string id = build_id(segment);
      if (!id.empty()) return id;
    }
    return {reinterpret_cast<const char*>(info_.dlpi_phdr), segments().size_bytes()};
  }

 private:
  std::span<const ElfW(Phdr)> segments() const { return {info_.dlpi_phdr, info_.dlpi_phnum}; }

  std::string build_id(const ElfW(Phdr) & notes) const {
    const auto* at = reinterpret_cast<const char*>(base() + notes.p_vaddr);
    const char* end = at + notes.p_memsz;
    auto padded = [](std::size_t size) { return (size + 3) / 4 * 4; };
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* id = at + sizeof note + padded(note.n_namesz);
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
          std::memcmp(at + sizeof note, "GNU", 4) == 0) {
        return {id, note.n_descsz};
      }
      at = id + padded(note.n_descsz);
    }
    return {};
  }

  const dl_phdr_info& info_;
};

// Calls `visit` for each module until it returns true.
void for_each_module(const std::function<bool(const Module&)>& visit) {
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        return (*static_cast<const std::function<bool(const Module&)>*>(data))(Module(*info)) ? 1
                                                                                              : 0;
      },
      const_cast<void*>(static_cast<const void*>(&visit)));
}

// A module that was loaded by a relative name may be called by it no longer: the working directory
// can have changed. /proc knows.
std::string path_of_mapping(std::uintptr_t address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields(line);
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    char dash = 0;
    if (!(fields >> std::hex >> from >> dash >> to) || address < from || address >= to) continue;
    std::size_t path = line.find('/');
    if (path != std::string::npos) return line.substr(path);
  }
  return {};
}

std::optional<std::uintptr_t> base_of_loaded(const FunctionPlace& place, std::string& build) {
  std::optional<std::uintptr_t> base;
  for_each_module([&](const Module& module) {
    if (module.name() != place.module) return false;
    base = module.base();
    build = module.build();
    return true;
  });
  return base;
}

// Left loaded for good: what runs in it may leave anything behind.
std::uintptr_t load(const FunctionPlace& place, std::string& build) {
  void* handle = ::dlopen(place.module.c_str(), RTLD_NOW);
  link_map* map = nullptr;
  if (!handle || ::dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
    const char* why = ::dlerror();
    throw std::runtime_error("can't load the module of a function: " +
                             std::string(why ? why : place.module));
  }
  for_each_module([&](const Module& module) {
    if (module.base() != map->l_addr) return false;
    build = module.build();
    return true;
  });
  return map->l_addr;
}

}  // namespace

FunctionPlace locate(const void* address) {
  FunctionPlace place;
  auto number = reinterpret_cast<std::uintptr_t>(address);
  if (number == 0) return place;
  bool found = false;
  for_each_module([&](const Module& module) {
    if (!module.contains(number)) return false;
    found = true;
    place.module = module.name();
    place.build = module.build();
    place.offset = number - module.base();
    return true;
  });
  if (!found) {
    throw std::invalid_argument(
        "a function that lies in no module, being made at run time, can't be called in another "
        "process");
  }
  if (!place.module.empty() && place.module.front() != '/') place.module = path_of_mapping(number);
  return place;
}

void* resolve(const FunctionPlace& place) {
  if (place.build.empty()) return nullptr;
  std::string build;
  std::optional<std::uintptr_t> base = base_of_loaded(place, build);
  if (!base) base = load(place, build);
  if (build != place.build) {
    throw std::runtime_error("the module '" + place.module +
                             "' is not the one that the parent process has loaded: it was replaced "
                             "on disk");
  }
  return reinterpret_cast<void*>(*base + place.offset);
}

std::string symbol_of(const void* address) {
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || info.dli_saddr != address || !info.dli_sname) return {};
  return info.dli_sname;
}

}  // namespace procession::os
