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
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <procession/procession.hpp>
#include <vector>

#include "bare.hpp"

namespace mp = procession;
namespace bare = procession::bare;

namespace {

using bare::Clock;
using bare::median;
using bare::seconds_since;

constexpr int kSubmits = 200'000;
constexpr int kRoundTrips = 20'000;
constexpr int kTasks = 5'000;
using Record = std::array<std::byte, 32>;  // a pool's call without arguments

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
    std::vector<double> copy = numbers;  // NOLINT(performance-unnecessary-copy-initialization)
    if (copy.back() != numbers.back()) std::abort();
  }
  return seconds_since(begin);
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 11;
  bare::Aside aside(
      {[] { return bare::ring<Record>(kSubmits); }, [] { return bare::ping_pong(kRoundTrips); }});
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
    ring.push_back(aside(0));
    submits.push_back(kSubmits / all_of(one, nothing, kSubmits));
    ping_pong.push_back(aside(1));
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
