// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/pages.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"
#include "os/process.hpp"

namespace procession::os {
namespace {

constexpr std::size_t kPage = 4096;

// Memory as malloc(3) gets it from the kernel, filled with bytes that tell where they lie.
class Memory {
 public:
  // Between two pages that nobody can use, so that it is a mapping by itself.
  Memory(std::size_t pages, std::size_t filled)
      : size_(pages * kPage),
        bytes_(static_cast<std::uint8_t*>(::mmap(nullptr, size_ + 2 * kPage, PROT_NONE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) +
               kPage) {
    ::mprotect(bytes_, size_, PROT_READ | PROT_WRITE);
    for (std::size_t i = 0; i < filled * kPage; ++i) bytes_[i] = expected(i);
  }
  ~Memory() { ::munmap(bytes_ - kPage, size_ + 2 * kPage); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void write(std::size_t page) const {
    auto* byte = const_cast<volatile std::uint8_t*>(bytes_ + page * kPage);
    *byte = *byte;
  }
  PageRange range(std::size_t first, std::size_t end) const {
    auto begin = reinterpret_cast<std::uintptr_t>(bytes_);
    return {begin + first * kPage, begin + end * kPage};
  }
  PageRange all() const { return range(0, size_ / kPage); }
  bool holds_what_it_did(std::size_t filled) const {
    for (std::size_t i = 0; i < size_; ++i) {
      if (bytes_[i] != (i < filled * kPage ? expected(i) : 0)) return false;
    }
    return true;
  }
  // The pages that are this process's own, as "3 10-12".
  std::string own() const {
    std::string text;
    const PageRange all = this->all();
    for (const PageRange& found : common(own_pages(), {&all, 1})) {
      std::size_t first = (found.begin - all.begin) / kPage;
      std::size_t last = (found.end - all.begin) / kPage - 1;
      text += (text.empty() ? "" : " ") + std::to_string(first);
      if (last != first) text += "-" + std::to_string(last);
    }
    return text;
  }
  std::string smaps() const {
    std::ifstream file("/proc/self/smaps");
    std::string text;
    unsigned long begin = 0, end = 0;
    bool inside = false;
    for (std::string line; std::getline(file, line);) {
      if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
        inside = begin <= all().begin && all().begin < end;
      }
      if (inside) text += line + "\n";
    }
    return text;
  }

 private:
  static std::uint8_t expected(std::size_t i) {
    return static_cast<std::uint8_t>(i / kPage * 31 + i % 251 + 1);
  }

  std::size_t size_;
  std::uint8_t* bytes_;
};

class Pages : public tests::LeavesNothing {
 protected:
  // Whether `holds` does in a copy of this process.
  static bool in_a_fork(const std::function<bool()>& holds) {
    pid_t pid = fork_process();
    if (pid == 0) ::_exit(holds() ? 0 : 1);
    Fd pidfd = open_pidfd(pid);
    while (wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
    }
    return try_reap(pidfd).value_or(kStatusLost) == ExitStatus{0, 0};
  }
};

TEST_F(Pages, AForkOwnsWhatItHasWritten) {
  Memory memory(64, 64);
  EXPECT_TRUE(in_a_fork([&] {
    for (std::size_t page : {3, 10, 11, 12, 63}) memory.write(page);
    return memory.own() == "3 10-12 63";
  }));
}

TEST_F(Pages, CommonIsWhatIsInBoth) {
  auto text = [](const std::vector<PageRange>& ranges) {
    std::string all;
    for (const PageRange& range : ranges) {
      all += std::to_string(range.begin) + "-" + std::to_string(range.end) + " ";
    }
    return all;
  };
  const std::vector<PageRange> a{{0, 4}, {6, 8}, {10, 20}};
  const std::vector<PageRange> b{{2, 7}, {8, 10}, {11, 12}, {13, 30}};
  EXPECT_EQ(text(common(a, b)), "2-4 6-7 11-12 13-20 ");
  EXPECT_EQ(text(common(b, a)), text(common(a, b)));
  EXPECT_EQ(text(common(a, {})), "");
}

TEST_F(Pages, PackedMemoryHoldsWhatItDidWhereItDid) {
  constexpr std::size_t kFilled = 1500;
  Memory memory(1600, kFilled);
  const std::vector<PageRange> written{memory.range(7, 9), memory.range(1499, 1500)};
  pack_around(written);
  EXPECT_TRUE(memory.holds_what_it_did(kFilled));
  EXPECT_TRUE(in_a_fork([&] {
    memory.write(1200);
    return memory.own() == "1200" && memory.holds_what_it_did(kFilled);
  }));
  EXPECT_TRUE(memory.holds_what_it_did(kFilled));
}

TEST_F(Pages, PagesThatAreNotThereAreNotMadeByPacking) {
  Memory memory(1600, 1000);
  const PageRange written = memory.range(7, 9);
  pack_around({&written, 1});
  EXPECT_NE(memory.smaps().find("Rss:                4000 kB"), std::string::npos)
      << memory.smaps();
}

TEST_F(Pages, MemoryWithAnAdviceIsNotPacked) {
  Memory memory(1600, 1600);
  void* start = reinterpret_cast<void*>(memory.all().begin);
  ASSERT_EQ(::madvise(start, 1600 * kPage, MADV_WIPEONFORK), 0);
  const PageRange written = memory.range(7, 9);
  pack_around({&written, 1});
  EXPECT_TRUE(memory.holds_what_it_did(1600));
  EXPECT_TRUE(in_a_fork([&] { return memory.holds_what_it_did(0); })) << memory.smaps();
}

TEST_F(Pages, WhatIsReadOnlyStaysSo) {
  Memory memory(1600, 1600);
  void* start = reinterpret_cast<void*>(memory.all().begin);
  ASSERT_EQ(::mprotect(start, 1600 * kPage, PROT_READ), 0);
  const PageRange written = memory.range(7, 9);
  pack_around({&written, 1});
  EXPECT_NE(memory.smaps().find(" r--p "), std::string::npos) << memory.smaps();
  EXPECT_TRUE(memory.holds_what_it_did(1600));
}

// What a fork has not written and yet owns was copied by fork(2) itself.
TEST_F(Pages, AForkCopiesPinnedPagesAtOnce) {
  Fd pinning = open_pinning();
  if (!pinning.valid()) GTEST_SKIP() << "io_uring is forbidden here";
  Memory memory(64, 64);
  const std::vector<PageRange> pages{memory.range(5, 6), memory.range(20, 30)};
  ASSERT_TRUE(pin(pinning, pages));
  EXPECT_TRUE(in_a_fork([&] {
    pinning.reset();
    return memory.own() == "5 20-29" && memory.holds_what_it_did(64);
  }));
}

TEST_F(Pages, WhatIsNotMappedIsNotPinnedAndHindersNothing) {
  Fd pinning = open_pinning();
  if (!pinning.valid()) GTEST_SKIP() << "io_uring is forbidden here";
  Memory memory(64, 64);
  PageRange gone{};
  { gone = Memory(16, 16).all(); }
  std::vector<PageRange> pages{memory.range(5, 6), gone};
  if (gone.begin < pages[0].begin) std::swap(pages[0], pages[1]);
  ASSERT_TRUE(pin(pinning, pages));
  EXPECT_TRUE(in_a_fork([&] { return memory.own() == "5"; }));
}

TEST_F(Pages, NoMoreIsPinnedThanAQuarterOfTheLimit) {
  EXPECT_TRUE(in_a_fork([&] {
    rlimit limit{64 * kPage, 64 * kPage};
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return false;
    Memory memory(64, 64);
    const PageRange fits = memory.range(0, 16), too_many = memory.range(0, 17);
    Fd pinning = open_pinning();
    return !pinning.valid() || (!pin(pinning, {&too_many, 1}) && pin(pinning, {&fits, 1}));
  }));
}

TEST_F(Pages, WhatMayBePinnedIsInNoHugePage) {
  constexpr std::size_t kHuge = 512;
  Memory packed(1600, 1600), advised(4 * kHuge, 4 * kHuge), small(64, 64);
  void* start = reinterpret_cast<void*>(advised.all().begin);
  ASSERT_EQ(::madvise(start, 4 * kHuge * kPage, MADV_HUGEPAGE), 0);
  std::vector<PageRange> written{packed.range(7, 9), advised.range(7, 9), small.range(7, 9)};
  auto by_place = [](const PageRange& a, const PageRange& b) { return a.begin < b.begin; };
  std::sort(written.begin(), written.end(), by_place);
  const std::vector<PageRange> found = pack_around(written);
  auto among = [&](const PageRange& one) {
    return std::any_of(found.begin(), found.end(),
                       [&](const PageRange& range) { return range.begin == one.begin; });
  };
  EXPECT_TRUE(among(packed.range(7, 9)));
  EXPECT_FALSE(among(advised.range(7, 9)));
  EXPECT_TRUE(among(small.range(7, 9)));
}

// As a thread or a coroutine of a host that calls us on it may have.
TEST_F(Pages, TheStackInUseIsNotPacked) {
  if (tests::kSanitized) GTEST_SKIP() << "sanitizers know of no other stacks";
  EXPECT_TRUE(in_a_fork([] {
    static std::optional<Memory> stack;
    stack.emplace(1024, 1024);
    static bool whole = false;
    static ucontext_t here, there;
    ::getcontext(&there);
    there.uc_stack.ss_sp = reinterpret_cast<void*>(stack->all().begin);
    there.uc_stack.ss_size = 1024 * kPage;
    there.uc_link = &here;
    ::makecontext(
        &there,
        [] {
          const PageRange all = stack->all();
          pack_around({&all, 1});
          whole = true;
        },
        0);
    ::swapcontext(&here, &there);
    return whole;
  }));
}

}  // namespace
}  // namespace procession::os
