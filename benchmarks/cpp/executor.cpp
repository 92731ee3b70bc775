// SPDX-License-Identifier: Apache-2.0
// The executor beside the least that two processes can do, in one run, by turns, so that whatever else
// the machine does falls on both. Prints medians and ratios.
//
//   no-op submits     futures/s, submitted and got, against records/s through a bare ring
//   hot round trip    submit().get() of a no-op, against a ping-pong on two words of shared memory
//   20 us tasks       on two workers, against tasks * 20 us / 2
//   100 MB            a vector there and back, against four copies of it in memory
//
//   executor [ROUNDS]     11 rounds
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <procession/procession.hpp>
#include <vector>

#include "shm/ring.hpp"

namespace mp = procession;
namespace shm = procession::shm;

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSubmits = 200'000;
constexpr int kRoundTrips = 20'000;
constexpr int kTasks = 5'000;
constexpr std::size_t kRingSize = 1 << 20;
constexpr std::size_t kRecord = 32;  // bytes: a pool's call without arguments

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
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

Shared* map_shared() {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return new (memory) Shared;
}

// Seconds that `parent` takes while a forked child runs `child`.
template <class Child, class Parent>
double beside(Child child, Parent parent) {
  pid_t pid = ::fork();
  if (pid == 0) {
    child();
    ::_exit(0);
  }
  auto begin = Clock::now();
  parent();
  double seconds = seconds_since(begin);
  ::waitpid(pid, nullptr, 0);
  return seconds;
}

double bare_ring() {
  Shared* shared = map_shared();
  shm::RingMemory memory{&shared->control, shared->data};
  double seconds = beside(
      [&] {
        shm::RingReader reader(memory);
        for (int i = 0; i < kSubmits;) {
          if (!reader.peek()) continue;
          reader.pop();
          ++i;
        }
        shared->pong.store(1, std::memory_order_release);
      },
      [&] {
        shm::RingWriter writer(memory);
        std::byte record[kRecord]{};
        for (int i = 0; i < kSubmits;) i += writer.try_write({record}) ? 1 : 0;
        while (shared->pong.load(std::memory_order_acquire) == 0) {
        }
      });
  ::munmap(shared, sizeof *shared);
  return kSubmits / seconds;
}

double bare_ping_pong() {
  Shared* shared = map_shared();
  double seconds = beside(
      [&] {
        for (std::uint32_t i = 1; i <= kRoundTrips; ++i) {
          while (shared->ping.load(std::memory_order_acquire) != i) {
          }
          shared->pong.store(i, std::memory_order_release);
        }
      },
      [&] {
        for (std::uint32_t i = 1; i <= kRoundTrips; ++i) {
          shared->ping.store(i, std::memory_order_release);
          while (shared->pong.load(std::memory_order_acquire) != i) {
          }
        }
      });
  ::munmap(shared, sizeof *shared);
  return seconds / kRoundTrips;
}

void nothing() {}
void spin_20_us() {
  auto end = Clock::now() + std::chrono::microseconds(20);
  while (Clock::now() < end) {
  }
}
std::vector<double> same(std::vector<double> numbers) { return numbers; }

template <class Target>
double all_of(mp::ProcessPoolExecutor& pool, Target target, int count) {
  std::vector<mp::Future<void>> futures;
  futures.reserve(static_cast<std::size_t>(count));
  auto begin = Clock::now();
  for (int i = 0; i < count; ++i) futures.push_back(pool.submit(target));
  for (auto& future : futures) future.get();
  return seconds_since(begin);
}

double round_trips(mp::ProcessPoolExecutor& pool) {
  auto begin = Clock::now();
  for (int i = 0; i < kRoundTrips; ++i) pool.submit(nothing).get();
  return seconds_since(begin) / kRoundTrips;
}

double there_and_back(mp::ProcessPoolExecutor& pool, const std::vector<double>& numbers) {
  auto begin = Clock::now();
  if (pool.submit(same, numbers).get().size() != numbers.size()) std::abort();
  return seconds_since(begin);
}

double four_copies(const std::vector<double>& numbers) {
  auto begin = Clock::now();
  for (int i = 0; i < 4; ++i) {
    std::vector<double> copy = numbers;
    if (copy.back() != numbers.back()) std::abort();
  }
  return seconds_since(begin);
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 11;
  std::vector<double> ring;
  std::vector<double> ping_pong;
  std::vector<double> copies;
  std::vector<double> submits;
  std::vector<double> trips;
  std::vector<double> tasks;
  std::vector<double> large;
  std::vector<double> numbers(12'500'000, 0.5);
  mp::ProcessPoolExecutor one({.max_workers = 1});
  mp::ProcessPoolExecutor two({.max_workers = 2});
  all_of(one, nothing, 1000);
  all_of(two, spin_20_us, 1000);
  for (int round = 0; round < rounds; ++round) {
    ring.push_back(bare_ring());
    submits.push_back(kSubmits / all_of(one, nothing, kSubmits));
    ping_pong.push_back(bare_ping_pong());
    trips.push_back(round_trips(one));
    tasks.push_back(all_of(two, spin_20_us, kTasks));
    copies.push_back(four_copies(numbers));
    large.push_back(there_and_back(one, numbers));
  }
  double ideal = kTasks * 20e-6 / 2;
  std::printf("no-op submits    %8.0f /s   a bare ring %8.0f /s        %.2f of it\n",
              median(submits), median(ring), median(submits) / median(ring));
  std::printf("hot round trip   %8.2f us   a bare ping-pong %5.2f us     %.1f times it\n",
              median(trips) * 1e6, median(ping_pong) * 1e6, median(trips) / median(ping_pong));
  std::printf("20 us tasks      %8.1f ms   ideal %10.1f ms        %.0f %% of ideal\n",
              median(tasks) * 1e3, ideal * 1e3, 100 * ideal / median(tasks));
  std::printf("100 MB and back  %8.1f ms   four copies %6.1f ms       %.1f times it\n",
              median(large) * 1e3, median(copies) * 1e3, median(large) / median(copies));
}
