// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "launch/written_pages.hpp"
#include "leftovers.hpp"
#include "os/clone.hpp"
#include "os/pages.hpp"
#include "os/pidfd.hpp"
#include "os/poll.hpp"

namespace procession::launch {
namespace {

constexpr std::size_t kPage = 4096;
constexpr int kPages = 200;  // as many as an exit code can tell

os::ExitStatus end_of(pid_t pid) {
  os::Fd pidfd = os::open_pidfd(pid);
  while (os::wait_readable(pidfd.get(), base::Deadline::never()) != base::Waited::kReady) {
  }
  return os::try_reap(pidfd).value_or(os::kStatusLost);
}

// A zygote whose children write to pages of its memory, the first 60 of them in a rehearsal.
class Zygote : public Entry {
 public:
  static constexpr int kRehearsed = 60;

  explicit Zygote(std::function<bool()> at_rehearsals_end)
      : at_rehearsals_end_(std::move(at_rehearsals_end)), bytes_(memory_apart()) {
    for (std::size_t page = 0; page < kPages; ++page) bytes_[page * kPage] = 1;
  }

  int run(Start, bool, const ToParent&) override { return 0; }
  void refuse(const Start&, const char*, const ToParent&) override {}
  bool rehearse() override {
    write(kRehearsed);
    return at_rehearsals_end_();
  }

  // How many pages were a child's own when it began.
  int copied_by_the_fork() {
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit now{without_descriptors ? 0 : before.rlim_cur, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &now);
    written_.before_fork(*this);
    ::setrlimit(RLIMIT_NOFILE, &before);
    pid_t pid = os::fork_process();
    if (pid == 0) {
      written_.after_fork_in_child();
      ::_exit(own_pages());
    }
    return end_of(pid).value();
  }

  bool without_descriptors = false;

  bool holds_what_it_did() const {
    for (std::size_t page = 0; page < kPages; ++page) {
      if (bytes_[page * kPage] != 1) return false;
    }
    return true;
  }

 private:
  // Between pages that nobody may touch: else it could be part of a mapping that is too large to be looked at.
  static volatile std::uint8_t* memory_apart() {
    constexpr std::size_t kSize = (kPages + 2) * kPage;
    void* all = ::mmap(nullptr, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto* bytes = static_cast<std::uint8_t*>(all) + kPage;
    ::mprotect(bytes, kPages * kPage, PROT_READ | PROT_WRITE);
    return bytes;
  }
  void write(int pages) {
    for (int i = 0; i < pages; ++i) bytes_[static_cast<std::size_t>(i) * kPage] = 2;
  }
  int own_pages() const {
    auto begin = reinterpret_cast<std::uintptr_t>(bytes_);
    const os::PageRange all{begin, begin + kPages * kPage};
    std::uintptr_t size = 0;
    for (const os::PageRange& range : os::common(os::own_pages(), {&all, 1})) {
      size += range.end - range.begin;
    }
    return static_cast<int>(size / kPage);
  }

  std::function<bool()> at_rehearsals_end_;
  volatile std::uint8_t* bytes_;
  WrittenPages written_;
};

class WrittenPagesTest : public tests::LeavesNothing {
 protected:
  void SetUp() override {
    LeavesNothing::SetUp();
    if (!os::open_pinning().valid()) GTEST_SKIP() << "io_uring is forbidden here";
  }

  // In a process of its own, whose heap it may move. Gives its exit code.
  static int in_a_zygote(const std::function<bool()>& at_rehearsals_end,
                         const std::function<int(Zygote&)>& body) {
    pid_t pid = os::fork_process();
    if (pid == 0) {
      Zygote zygote(at_rehearsals_end);
      ::_exit(body(zygote));
    }
    return end_of(pid).value();
  }
};

TEST_F(WrittenPagesTest, WhatARehearsalWritesTheForkCopies) {
  constexpr int kTooEarly = kPages + 1;
  constexpr int kSpoiled = kPages + 2;
  EXPECT_EQ(in_a_zygote([] { return true; },
                        [](Zygote& zygote) {
                          for (int i = 0; i < 5; ++i) {
                            if (zygote.copied_by_the_fork() != 0) return kTooEarly;
                          }
                          int copied = Zygote::kRehearsed;
                          for (int i = 0; i < 3 && copied == Zygote::kRehearsed; ++i) {
                            copied = zygote.copied_by_the_fork();
                          }
                          return zygote.holds_what_it_did() ? copied : kSpoiled;
                        }),
            Zygote::kRehearsed);
}

// What the sixth child finds, and the seventh.
int nothing_is_learnt(Zygote& zygote) {
  for (int i = 0; i < 7; ++i) {
    if (zygote.copied_by_the_fork() != 0) return i + 1;
  }
  return zygote.holds_what_it_did() ? 0 : 100;
}

TEST_F(WrittenPagesTest, NothingIsLearntFromARehearsalThatFails) {
  EXPECT_EQ(in_a_zygote([] { return false; }, nothing_is_learnt), 0);
}

TEST_F(WrittenPagesTest, NothingIsLearntFromARehearsalThatIsKilled) {
  EXPECT_EQ(in_a_zygote([] { return ::raise(SIGKILL) == 0; }, nothing_is_learnt), 0);
}

TEST_F(WrittenPagesTest, NothingIsLearntWithoutDescriptors) {
  EXPECT_EQ(in_a_zygote([] { return true; },
                        [](Zygote& zygote) {
                          zygote.without_descriptors = true;
                          return nothing_is_learnt(zygote);
                        }),
            0);
}

}  // namespace
}  // namespace procession::launch
