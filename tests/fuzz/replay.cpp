// SPDX-License-Identifier: Apache-2.0
// replay: a target without libFuzzer: random inputs, the same each time, for so many seconds; or files.
//
//   fuzz_TARGET [FILE…]
#include <chrono>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "input.hpp"

namespace {

constexpr std::chrono::seconds kFor{3};
constexpr std::size_t kLongest = 600;

using procession::fuzz::Input;

void replay(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  procession::fuzz::fuzz(Input(procession::base::as_bytes(text)));
}

// Small numbers are what most fields want.
void replay_random() {
  std::mt19937_64 random(1);
  procession::base::Bytes bytes;
  for (auto end = std::chrono::steady_clock::now() + kFor;
       std::chrono::steady_clock::now() < end;) {
    bytes.resize(random() % kLongest);
    std::uint64_t mask = random() % 2 ? 0xff : 0x0f;
    for (std::byte& byte : bytes) {
      byte = static_cast<std::byte>(random() & (random() % 4 ? mask : 0));
    }
    procession::fuzz::fuzz(Input(bytes));
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) replay(argv[i]);
  if (argc == 1) replay_random();
}
