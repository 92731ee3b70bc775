// SPDX-License-Identifier: Apache-2.0
#include "os/pages.hpp"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "os/signals.hpp"

namespace procession::os {

namespace {

constexpr std::uintptr_t kPage = 4096;
constexpr std::size_t kWords = kPage / sizeof(std::uint64_t);
constexpr int kMadviseCollapse = 25;  // MADV_COLLAPSE: Linux 6.1, glibc 2.37
constexpr std::uintptr_t kHugePage = std::uintptr_t{2} << 20;
constexpr std::uintptr_t kLargestMapping = std::uintptr_t{64} << 20;
constexpr std::uintptr_t kMostToPack = std::uintptr_t{32} << 20;
constexpr std::uintptr_t kLeastToPack = std::uintptr_t{256} << 10;

// A line of /proc/self/maps, proc(5), or the first of a mapping's in smaps.
struct Area {
  PageRange pages;
  std::string rights;
  std::string name;
  bool anonymous = false;
};

std::optional<Area> parse_area(const std::string& line) {
  std::istringstream words(line);
  Area area;
  char dash = 0;
  std::string offset, device, inode;
  words >> std::hex >> area.pages.begin >> dash >> area.pages.end >> area.rights;
  words >> offset >> device >> inode;
  if (!words || dash != '-' || area.rights.size() != 4) return std::nullopt;
  std::getline(words >> std::ws, area.name);
  area.anonymous = inode == "0";
  return area;
}

std::uintptr_t size(const PageRange& range) { return range.end - range.begin; }

bool touch(const PageRange& area, std::span<const PageRange> ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const PageRange& range) {
    return range.begin < area.end && area.begin < range.end;
  });
}

// Nothing but what malloc(3) asks for: no guard pages, no MADV_DONTFORK or MADV_WIPEONFORK, not locked.
bool is_ordinary(const std::string& flags) {
  constexpr std::string_view kOrdinary = " rd wr mr mw me ac sd ";
  std::istringstream words(flags);
  for (std::string flag; words >> flag;) {
    if (kOrdinary.find(" " + flag + " ") == std::string_view::npos) return false;
  }
  return true;
}

struct Packing {
  std::vector<PageRange> to_pack;
  std::vector<PageRange> in_no_huge_page;
};

// The stack in use is none of malloc's, and where it is has many names.
bool holds_this_stack(const PageRange& area) {
  auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  return area.begin <= here && here < area.end;
}

Packing plan_packing(std::span<const PageRange> written) {
  Packing plan;
  std::uintptr_t total = 0, resident_kib = 0;
  std::ifstream file("/proc/self/smaps");
  constexpr std::string_view kFlags = "VmFlags:";
  Area area;
  for (std::string line; std::getline(file, line);) {
    if (auto next = parse_area(line)) area = std::move(*next);
    std::sscanf(line.c_str(), "Rss: %lu kB", &resident_kib);
    if (line.rfind(kFlags, 0) != 0) continue;
    const std::uintptr_t bytes = size(area.pages);
    const bool of_malloc = area.anonymous && (area.name.empty() || area.name == "[heap]");
    if (!area.anonymous || bytes < kHugePage) plan.in_no_huge_page.push_back(area.pages);
    if (of_malloc && area.rights == "rw-p" && bytes >= kLeastToPack &&
        total + bytes <= kMostToPack && resident_kib * 1024 > bytes / 2 &&
        is_ordinary(line.substr(kFlags.size())) && !holds_this_stack(area.pages) &&
        touch(area.pages, written)) {
      total += bytes;
      plan.to_pack.push_back(area.pages);
    }
  }
  return plan;
}

// Copies without a trap for pages that can't be read, and without the C library, whose own variables
// may be what is copied.
bool copy(std::uintptr_t to, const PageRange& from) {
  iovec target{reinterpret_cast<void*>(to), size(from)};
  iovec source{reinterpret_cast<void*>(from.begin), size(from)};
  return ::process_vm_readv(::getpid(), &target, 1, &source, 1, 0) ==
         static_cast<ssize_t>(size(from));
}

// Memory that is not there yet, aligned for huge pages; unmapped on destruction but for what was moved.
class Staging {
 public:
  explicit Staging(std::uintptr_t size) : room_(round_up(size) + kHugePage) {
    start_ = ::mmap(nullptr, room_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  ~Staging() {
    if (valid()) ::munmap(start_, room_);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  bool valid() const { return start_ != MAP_FAILED; }
  std::uintptr_t begin() const { return round_up(reinterpret_cast<std::uintptr_t>(start_)); }

  // No advice that stays with the mapping, as MADV_HUGEPAGE does. In one call: each waits for all CPUs.
  void collapse(std::uintptr_t size) const {
    ::madvise(reinterpret_cast<void*>(begin()), round_up(size), kMadviseCollapse);
  }

 private:
  static std::uintptr_t round_up(std::uintptr_t size) {
    return (size + kHugePage - 1) & ~(kHugePage - 1);
  }

  std::uintptr_t room_;
  void* start_;
};

// Nothing is written to the heap from the first copy to the last move: it may be what is moved. False
// if some of it is where it was.
bool move_to_large_folios(std::span<const PageRange> areas) {
  std::uintptr_t total = 0;
  for (const PageRange& area : areas) total += size(area);
  Staging staging(total);
  if (!staging.valid()) return false;
  std::uintptr_t at = staging.begin();
  for (const PageRange& area : areas) {
    if (!copy(at, area)) return false;
    at += size(area);
  }
  staging.collapse(total);
  at = staging.begin();
  for (const PageRange& area : areas) {
    if (::mremap(reinterpret_cast<void*>(at), size(area), size(area), MREMAP_MAYMOVE | MREMAP_FIXED,
                 reinterpret_cast<void*>(area.begin)) == MAP_FAILED) {
      return false;
    }
    at += size(area);
  }
  return true;
}

// For what reads memory without regard to what it is for.
#define PROCESSION_ANY_MEMORY __attribute__((no_sanitize("address", "thread", "undefined")))

// Nobody but the stack knows what the page holds, for a moment.
PROCESSION_ANY_MEMORY void set_apart(std::uintptr_t page) {
  std::uint64_t kept[kWords];  // NOLINT(*-avoid-c-arrays): nothing of std::array's is called
  auto* words = reinterpret_cast<volatile std::uint64_t*>(page);
  for (std::size_t i = 0; i < kWords; ++i) kept[i] = words[i];
  if (::madvise(reinterpret_cast<void*>(page), kPage, MADV_DONTNEED) != 0) return;
  for (std::size_t i = 0; i < kWords; ++i) words[i] = kept[i];
}

// What a fork doesn't find, it need not share.
PROCESSION_ANY_MEMORY void drop_if_zero(std::uintptr_t page) {
  const auto* words = reinterpret_cast<const volatile std::uint64_t*>(page);
  for (std::size_t i = 0; i < kWords; ++i) {
    if (words[i] != 0) return;
  }
  ::madvise(reinterpret_cast<void*>(page), kPage, MADV_DONTNEED);
}

std::vector<PageRange> private_memory(bool anonymous_only) {
  std::vector<PageRange> found;
  std::ifstream file("/proc/self/maps");
  for (std::string line; std::getline(file, line);) {
    std::optional<Area> area = parse_area(line);
    if (area && area->rights[1] == 'w' && area->rights[3] == 'p' &&
        size(area->pages) <= kLargestMapping && (area->anonymous || !anonymous_only)) {
      found.push_back(area->pages);
    }
  }
  return found;
}

}  // namespace

std::vector<PageRange> common(std::span<const PageRange> a, std::span<const PageRange> b) {
  std::vector<PageRange> found;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    PageRange both{std::max(a[i].begin, b[j].begin), std::min(a[i].end, b[j].end)};
    if (both.begin < both.end) found.push_back(both);
    ++(a[i].end < b[j].end ? i : j);
  }
  return found;
}

std::vector<PageRange> own_pages() {
  constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;  // admin-guide/mm/pagemap.rst
  constexpr std::uint64_t kOfFile = std::uint64_t{1} << 61;
  constexpr std::uint64_t kMappedOnce = std::uint64_t{1} << 56;
  std::vector<PageRange> found;
  Fd file(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!file.valid() || ::sysconf(_SC_PAGESIZE) != kPage) return found;
  std::vector<std::uint64_t> entries;
  for (const PageRange& area : private_memory(false)) {
    entries.assign(size(area) / kPage, 0);
    std::size_t wanted = entries.size() * sizeof(std::uint64_t);
    auto at = static_cast<off_t>(area.begin / kPage * sizeof(std::uint64_t));
    if (::pread(file.get(), entries.data(), wanted, at) != static_cast<ssize_t>(wanted)) continue;
    std::uintptr_t page = area.begin;
    for (std::uint64_t entry : entries) {
      if ((entry & (kPresent | kOfFile | kMappedOnce)) == (kPresent | kMappedOnce)) {
        if (found.empty() || found.back().end != page) found.push_back({page, page});
        found.back().end += kPage;
      }
      page += kPage;
    }
  }
  return found;
}

std::vector<PageRange> pack_around(std::span<const PageRange> written) {
  const Packing plan = plan_packing(written);
  const std::vector<PageRange> apart = common(written, plan.to_pack);
  std::vector<PageRange> elsewhere = common(written, plan.in_no_huge_page);
  {
    SignalsBlocked none;  // their handlers, too, write where they like
    if (!move_to_large_folios(plan.to_pack)) return elsewhere;
    for (PageRange area : plan.to_pack) {
      for (; area.begin < area.end; area.begin += kPage) drop_if_zero(area.begin);
    }
    for (PageRange range : apart) {
      for (; range.begin < range.end; range.begin += kPage) set_apart(range.begin);
    }
  }
  // Small mappings are in both.
  std::vector<PageRange> all = apart;
  all.insert(all.end(), elsewhere.begin(), elsewhere.end());
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
  all.erase(
      std::unique(all.begin(), all.end(), [](auto& a, auto& b) { return a.begin == b.begin; }),
      all.end());
  return all;
}

Fd open_pinning() {
  io_uring_params parameters{};
  return Fd(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters)));
}

bool pin(const Fd& pinning, std::span<const PageRange> pages) {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  // Before Linux 6.4, nothing that a file is behind may be among them.
  for (bool anonymous_only : {false, true}) {
    std::vector<iovec> buffers;
    std::uintptr_t bytes = 0;
    for (const PageRange& range : common(pages, private_memory(anonymous_only))) {
      buffers.push_back({reinterpret_cast<void*>(range.begin), size(range)});
      bytes += size(range);
    }
    if (limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur / 4) return false;
    if (::syscall(SYS_io_uring_register, pinning.get(), IORING_REGISTER_BUFFERS, buffers.data(),
                  buffers.size()) == 0) {
      return true;
    }
  }
  return false;
}

}  // namespace procession::os
