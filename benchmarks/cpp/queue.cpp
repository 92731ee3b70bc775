// SPDX-License-Identifier: Apache-2.0
// A queue beside the least that two processes can do, in one run, by turns, so that whatever else the
// machine does falls on both. Prints medians and ratios.
//
//   one to one        Queue<int>, records/s, against records/s through a bare ring of one writer and
//                     one reader
//   bounded           the same with at most 1000 values at a time
//   ping-pong         there and back through two queues, against two words of shared memory
//   1 MB              a vector, against two copies of it in memory
//
//   queue [ROUNDS]     11 rounds
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <procession/procession.hpp>
#include <vector>

#include "shm/ring.hpp"

namespace mp = procession;
namespace shm = procession::shm;

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRecords = 1'000'000;
constexpr int kRoundTrips = 50'000;
constexpr int kVectors = 200;
constexpr std::size_t kNumbers = 125'000;  // doubles: 1 MB
constexpr std::size_t kRingSize = 1 << 20;

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

double bare_ring() {
  Shared* shared = map_shared();
  shm::RingMemory memory{&shared->control, shared->data};
  double seconds = beside(
      [&] {
        shm::RingReader reader(memory);
        for (int i = 0; i < kRecords;) {
          if (!reader.peek()) continue;
          reader.pop();
          ++i;
        }
        shared->pong.store(1, std::memory_order_release);
      },
      [&] {
        shm::RingWriter writer(memory);
        for (int i = 0; i < kRecords;) {
          i += writer.try_write({std::as_bytes(std::span(&i, 1))}) ? 1 : 0;
        }
        while (shared->pong.load(std::memory_order_acquire) == 0) {
        }
      });
  ::munmap(shared, sizeof *shared);
  return kRecords / seconds;
}

double one_to_one(int maxsize) {
  mp::Queue<int> numbers(maxsize);
  mp::Queue<int> done;
  double seconds = beside(
      [&] {
        for (int i = 0; i < kRecords; ++i) {
          if (numbers.get() != i) std::abort();
        }
        done.put(1);
      },
      [&] {
        for (int i = 0; i < kRecords; ++i) numbers.put(i);
        done.get();
      });
  return kRecords / seconds;
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

double ping_pong() {
  mp::Queue<int> there;
  mp::Queue<int> back;
  return beside(
             [&] {
               for (int i = 0; i < kRoundTrips; ++i) back.put(there.get());
             },
             [&] {
               for (int i = 0; i < kRoundTrips; ++i) {
                 there.put(i);
                 back.get();
               }
             }) /
         kRoundTrips;
}

double vectors(const std::vector<double>& numbers) {
  mp::Queue<std::vector<double>> queue(8);
  mp::Queue<int> done;
  return beside(
             [&] {
               for (int i = 0; i < kVectors; ++i) {
                 if (queue.get().size() != kNumbers) std::abort();
               }
               done.put(1);
             },
             [&] {
               for (int i = 0; i < kVectors; ++i) queue.put(numbers);
               done.get();
             }) /
         kVectors;
}

double two_copies(const std::vector<double>& numbers) {
  auto begin = Clock::now();
  for (int i = 0; i < kVectors; ++i) {
    std::vector<double> copy = numbers;  // NOLINT(performance-unnecessary-copy-initialization)
    std::vector<double> another = copy;
    if (another.back() != numbers.back()) std::abort();
  }
  return seconds_since(begin) / kVectors;
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 11;
  std::vector<double> ring;
  std::vector<double> unbounded;
  std::vector<double> bounded;
  std::vector<double> words;
  std::vector<double> trips;
  std::vector<double> copies;
  std::vector<double> large;
  std::vector<double> numbers(kNumbers, 0.5);
  for (int round = 0; round < rounds; ++round) {
    ring.push_back(bare_ring());
    unbounded.push_back(one_to_one(0));
    bounded.push_back(one_to_one(1000));
    words.push_back(bare_ping_pong());
    trips.push_back(ping_pong());
    copies.push_back(two_copies(numbers));
    large.push_back(vectors(numbers));
  }
  double bare = median(ring);
  std::printf("one to one       %9.0f /s   a bare ring %9.0f /s       %.2f of it\n",
              median(unbounded), bare, median(unbounded) / bare);
  std::printf("bounded by 1000  %9.0f /s                                %.2f of it\n",
              median(bounded), median(bounded) / bare);
  std::printf("ping-pong        %9.2f us   bare words  %9.2f us       %.1f times it\n",
              median(trips) * 1e6, median(words) * 1e6, median(trips) / median(words));
  std::printf("1 MB             %9.1f us   two copies  %9.1f us       %.1f times it\n",
              median(large) * 1e6, median(copies) * 1e6, median(large) / median(copies));
}
