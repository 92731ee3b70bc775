// SPDX-License-Identifier: Apache-2.0
#include "every_method.hpp"

namespace procession::tests {

namespace {
void nothing() {}
}  // namespace

void EveryMethod::SetUp() {
  static bool warm = false;  // what a program's first start makes for good, it makes now
  if (!std::exchange(warm, true)) {
    mp::Process process = mp::get_context("spawn").Process(nothing);
    process.start();
    process.join();
  }
  LeavesNothing::SetUp();
}

std::string EveryMethod::class_name() const {
  if (method() == "fork") return "ForkProcess";
  return method() == "spawn" ? "SpawnProcess" : "ForkServerProcess";
}

void EveryPoolMethod::SetUp() {
  EveryMethod::SetUp();
  if (kThreadSanitized && method() == "fork") {
    GTEST_SKIP() << "ThreadSanitizer can't fork beside threads";
  }
}

}  // namespace procession::tests
