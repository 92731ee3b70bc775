// SPDX-License-Identifier: Apache-2.0
// bare: the least that two processes can do, which the benchmarks have figures beside.
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <vector>

#include "shm/ring.hpp"

namespace procession::bare {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kRingSize = 1 << 20;

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct Shared {
  shm::RingControl control;
  alignas(64) std::atomic<std::uint32_t> ping{0};
  alignas(64) std::atomic<std::uint32_t> pong{0};
  alignas(64) std::byte data[kRingSize];
};

inline Shared* map_shared() {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return new (memory) Shared;
}

// Measures in a process that is forked at the beginning, as often as it is asked to. To fork one for each
// measurement would have all memory of this program be copied on write, which the next one would pay for.
class Aside {
 public:
  explicit Aside(const std::vector<std::function<double()>>& measurements) {
    int ask[2];
    int answer[2];
    if (::pipe(ask) != 0 || ::pipe(answer) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ask[1]);
      std::size_t which = 0;
      while (::read(ask[0], &which, sizeof which) == sizeof which) {
        double figure = measurements.at(which)();
        if (::write(answer[1], &figure, sizeof figure) != sizeof figure) break;
      }
      ::_exit(0);
    }
    ::close(ask[0]);
    ::close(answer[1]);
    ask_ = ask[1];
    answer_ = answer[0];
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;
  ~Aside() {
    ::close(ask_);
    ::close(answer_);
    ::waitpid(pid_, nullptr, 0);
  }

  double operator()(std::size_t which) const {
    double figure = 0;
    if (::write(ask_, &which, sizeof which) != sizeof which) std::abort();
    if (::read(answer_, &figure, sizeof figure) != sizeof figure) std::abort();
    return figure;
  }

 private:
  pid_t pid_ = -1;
  int ask_ = -1;
  int answer_ = -1;
};

// Seconds that `parent` takes while a forked child, which has begun, runs `child`.
template <class Child, class Parent>
double beside(Child child, Parent parent) {
  Shared* start = map_shared();
  pid_t pid = ::fork();
  if (pid == 0) {
    start->ping.store(1);
    child();
    ::_exit(0);
  }
  while (start->ping.load() == 0) {
  }
  auto begin = Clock::now();
  parent();
  double seconds = seconds_since(begin);
  ::waitpid(pid, nullptr, 0);
  ::munmap(start, sizeof *start);
  return seconds;
}

// Records a second through a ring with one writer and one reader, of `Record` each.
template <class Record>
double ring(int records) {
  Shared* shared = map_shared();
  shm::RingMemory memory{&shared->control, shared->data};
  double seconds = beside(
      [&] {
        shm::RingReader reader(memory);
        for (int i = 0; i < records;) {
          if (!reader.peek()) continue;
          reader.pop();
          ++i;
        }
        shared->pong.store(1, std::memory_order_release);
      },
      [&] {
        shm::RingWriter writer(memory);
        Record record{};
        for (int i = 0; i < records;) {
          std::byte* at = writer.try_begin(sizeof record);
          if (!at) continue;
          std::memcpy(at, &record, sizeof record);
          writer.publish();
          ++i;
        }
        while (shared->pong.load(std::memory_order_acquire) == 0) {
        }
      });
  ::munmap(shared, sizeof *shared);
  return records / seconds;
}

// Seconds that a word takes to another process and back.
inline double ping_pong(std::uint32_t times) {
  Shared* shared = map_shared();
  double seconds = beside(
      [&] {
        for (std::uint32_t i = 1; i <= times; ++i) {
          while (shared->ping.load(std::memory_order_acquire) != i) {
          }
          shared->pong.store(i, std::memory_order_release);
        }
      },
      [&] {
        for (std::uint32_t i = 1; i <= times; ++i) {
          shared->ping.store(i, std::memory_order_release);
          while (shared->pong.load(std::memory_order_acquire) != i) {
          }
        }
      });
  ::munmap(shared, sizeof *shared);
  return seconds / times;
}

}  // namespace procession::bare
