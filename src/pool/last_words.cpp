// SPDX-License-Identifier: Apache-2.0
#include "pool/last_words.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "os/memory_use.hpp"

namespace procession::pool {

namespace {

constexpr std::size_t kMost = 4096;
constexpr std::size_t kMostOfCrash = 3072;

// A string that another process may have left without its end.
template <std::size_t size>
std::string text_of(const std::array<char, size>& bytes) {
  return {bytes.data(), ::strnlen(bytes.data(), size)};
}

std::string said_by(const LastWords& words, std::size_t most) {
  std::uint64_t end = words.said_size.load(std::memory_order_acquire);
  std::uint64_t begin = end - std::min<std::uint64_t>({end, most, words.said.size()});
  std::string text;
  for (; begin < end; ++begin) text.push_back(words.said[begin % words.said.size()]);
  return text;
}

// A path of a cgroup comes from the worker's memory, so it is looked at.
OutOfMemory want_of_memory(const LastWords& words, const os::ExitStatus& status) {
  if (status.signal != os::kKill) return OutOfMemory::kNo;
  std::string path = text_of(words.oom_path);
  bool of_machine = path == os::kMachinesOomCounter;
  bool is_one = of_machine || path.rfind("/sys/fs/cgroup/", 0) == 0;
  if (!is_one || path.find("/../") != std::string::npos) return OutOfMemory::kNo;
  std::optional<std::uint64_t> now = os::read_oom_counter(path);
  if (!now || *now <= words.oom_kills) return OutOfMemory::kNo;
  return of_machine ? OutOfMemory::kMostLikely : OutOfMemory::kYes;
}

}  // namespace

void say(LastWords& words, base::BytesView text) noexcept {
  std::uint64_t at = words.said_size.load(std::memory_order_relaxed);
  std::size_t skipped = text.size() - std::min(text.size(), words.said.size());
  for (std::size_t i = skipped; i < text.size(); ++i) {
    words.said[(at + i) % words.said.size()] = static_cast<char>(text[i]);
  }
  words.said_size.store(at + text.size(), std::memory_order_release);
}

void note_oom_counter(LastWords& words) {
  os::OomCounter counter = os::oom_counter();
  if (counter.path.size() >= words.oom_path.size()) counter.path.clear();
  words.oom_kills = counter.count;
  std::memcpy(words.oom_path.data(), counter.path.c_str(), counter.path.size() + 1);
}

Circumstances circumstances_of(const LastWords& words, const os::Exit& exit) {
  std::string crash = text_of(words.crash).substr(0, kMostOfCrash);
  std::string said = said_by(words, kMost - crash.size());
  return {exit.usage, said + crash, want_of_memory(words, exit.status)};
}

void clear(LastWords& words) noexcept {
  words.said_size.store(0, std::memory_order_relaxed);
  words.oom_path[0] = 0;
  std::size_t used = ::strnlen(words.crash.data(), words.crash.size());
  std::memset(words.crash.data(), 0, used);
}

}  // namespace procession::pool
