// SPDX-License-Identifier: Apache-2.0
#include "os/memory_use.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <limits>

namespace procession::os {

ResidentSet::ResidentSet() : statm_(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC)) {}

// "size resident shared text lib data dt", in pages: proc(5).
std::uint64_t ResidentSet::bytes() const noexcept {
  std::array<char, 128> text{};
  if (!statm_.valid() || ::pread(statm_.get(), text.data(), text.size() - 1, 0) <= 0) return 0;
  char* at = nullptr;
  std::strtoull(text.data(), &at, 10);
  return std::strtoull(at, nullptr, 10) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::optional<std::uint64_t> read_oom_counter(const std::string& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return std::nullopt;
  std::string text;
  std::array<char, 4096> part;
  while (true) {
    ssize_t got = ::read(file.get(), part.data(), part.size());
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  constexpr std::string_view kKey = "oom_kill ";
  std::size_t at = text.rfind(kKey, 0) == 0 ? 0 : text.find("\noom_kill ");
  if (at == std::string::npos) return std::nullopt;
  at = text.find(' ', at);
  return std::strtoull(text.c_str() + at, nullptr, 10);
}

OomCounter oom_counter() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    std::size_t controllers = line.find(':') + 1;
    std::size_t path_at = line.find(':', controllers);
    if (controllers == 0 || path_at == std::string::npos) continue;
    std::string names = "," + line.substr(controllers, path_at - controllers) + ",";
    bool v2 = names == ",,";
    if (!v2 && names.find(",memory,") == std::string::npos) continue;
    std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    std::string name = v2 ? "/memory.events" : "/memory.oom_control";
    // In a container the mount may begin at its own cgroup, whose path then says too much.
    std::string own = root;
    own += line.substr(path_at + 1);
    for (const std::string& mount : {own, root}) {
      std::string path = mount;
      path += name;
      if (auto count = read_oom_counter(path)) return {path, *count};
    }
  }
  constexpr std::uint64_t kNotToBeExceeded = std::numeric_limits<std::uint64_t>::max();
  return {kMachinesOomCounter, read_oom_counter(kMachinesOomCounter).value_or(kNotToBeExceeded)};
}

}  // namespace procession::os
