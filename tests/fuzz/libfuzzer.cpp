// SPDX-License-Identifier: Apache-2.0
// libfuzzer: the door by which libFuzzer comes to a target.
#include <cstddef>
#include <cstdint>

#include "input.hpp"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  procession::fuzz::fuzz(procession::fuzz::Input(std::as_bytes(std::span(data, size))));
  return 0;
}
