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
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <procession/procession.hpp>
#include <vector>

#include "bare.hpp"

namespace mp = procession;
namespace bare = procession::bare;

namespace {

using bare::beside;
using bare::Clock;
using bare::median;
using bare::seconds_since;

constexpr int kRecords = 1'000'000;
constexpr int kRoundTrips = 50'000;
constexpr int kVectors = 200;
constexpr std::size_t kNumbers = 125'000;  // doubles: 1 MB

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
    std::vector<double> another = copy;  // NOLINT(performance-unnecessary-copy-initialization)
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
    ring.push_back(bare::ring<int>(kRecords));
    unbounded.push_back(one_to_one(0));
    bounded.push_back(one_to_one(1000));
    words.push_back(bare::ping_pong(kRoundTrips));
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
