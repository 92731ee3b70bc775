// SPDX-License-Identifier: Apache-2.0
// Start and join of a process that does nothing, beside a raw fork, _exit and wait, in one run: first
// as a small process, then with memory resident in the parent. Small, raw fork and fork server take
// turns, so that whatever else the machine does falls on both. Large, each way is for itself, since a
// fork leaves all of the parent's memory write-protected for whoever comes next. Prints medians and
// ratios.
//
//   start_join [ROUNDS [MEBIBYTES]]      2000 rounds, 1024 MiB
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <procession/procession.hpp>
#include <span>
#include <string>
#include <vector>

namespace mp = procession;

namespace {

void nothing() {}

void raw_fork() {
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ::waitpid(pid, nullptr, 0);
}

void start_and_join(const mp::Context& context) {
  mp::Process process = context.Process(nothing);
  process.start();
  process.join();
  if (process.exitcode() != 0) std::abort();
}

struct Way {
  const char* name;
  std::function<void()> run;
  std::vector<double> microseconds = {};

  double median() {
    auto middle = microseconds.begin() + static_cast<std::ptrdiff_t>(microseconds.size() / 2);
    std::nth_element(microseconds.begin(), middle, microseconds.end());
    return *middle;
  }
};

void measure(std::span<Way> ways, int rounds) {
  for (Way& way : ways) {
    way.microseconds.clear();
    for (int i = 0; i < 5; ++i) way.run();  // the fork server is made, the spares are there
  }
  for (int round = 0; round < rounds; ++round) {
    for (Way& way : ways) {
      auto begin = std::chrono::steady_clock::now();
      way.run();
      std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
      way.microseconds.push_back(took.count());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = argc > 1 ? std::atoi(argv[1]) : 2000;
  std::size_t mebibytes = argc > 2 ? static_cast<std::size_t>(std::atoi(argv[2])) : 1024;
  mp::Context forkserver = mp::get_context("forkserver");
  mp::Context fork = mp::get_context("fork");
  mp::Context spawn = mp::get_context("spawn");
  std::vector<Way> ways{{"raw fork + wait", raw_fork},
                        {"forkserver", [&] { start_and_join(forkserver); }},
                        {"fork", [&] { start_and_join(fork); }},
                        {"spawn", [&] { start_and_join(spawn); }}};
  std::printf("start + join, median in µs (and as a multiple of raw fork + wait when small)\n");
  std::printf("%-18s %16s %16s\n", "", "small",
              (std::to_string(mebibytes) + " MiB resident").c_str());
  measure(std::span(ways).first(2), rounds);
  for (Way& way : std::span(ways).subspan(2)) measure({&way, 1}, rounds / 4);
  std::vector<double> small;
  for (Way& way : ways) small.push_back(way.median());
  std::vector<char> resident(mebibytes << 20, 'x');
  for (Way& way : ways) measure({&way, 1}, rounds / 10);
  for (std::size_t i = 0; i < ways.size(); ++i) {
    double large = ways[i].median();
    std::printf("%-18s %8.1f (%4.2f) %8.1f (%4.2f)\n", ways[i].name, small[i], small[i] / small[0],
                large, large / small[0]);
  }
  return resident.back() == 'x' ? 0 : 1;
}
