// SPDX-License-Identifier: Apache-2.0
// leftovers: the base of every test that has to do with processes: it ends by proving that nothing is
// left of it: no child, not even a zombie, no descriptor, no thread.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace procession::tests {

// What this process has at one moment.
struct Belongings {
  std::map<int, std::string> fds;  // and what they refer to
  int threads = 0;
  bool has_children = false;

  static Belongings now();
  static Belongings once_threads_ended(int threads);  // as soon as there are no more than these
};

// Test suites derive from it. `settle` ends what is kept ready between starts, i.e. the zygote; it
// is called before and after each test.
class LeavesNothing : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  virtual void settle() {}

 private:
  Belongings before_;
};

// Whether the tests run under AddressSanitizer or ThreadSanitizer, which cost memory.
extern const bool kSanitized;
extern const bool kThreadSanitized;

}  // namespace procession::tests
