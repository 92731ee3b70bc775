// SPDX-License-Identifier: Apache-2.0
// The tests of launch; the same program is the child that they start.
#include <gtest/gtest.h>

#include <string_view>

#include "children.hpp"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--child") procession::launch::live_as_test_child();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
