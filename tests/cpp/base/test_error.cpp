// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/check.hpp"
#include "base/error.hpp"

namespace procession::base {
namespace {

int refuse(int error_number) {
  errno = error_number;
  return -1;
}

TEST(OsError, SaysTheCallAndWhatTheSystemSaid) {
  try {
    PROCESSION_SYSCALL(refuse(ENOENT));
    FAIL() << "no error";
  } catch (const std::system_error& error) {
    EXPECT_STREQ(error.what(), "refuse(ENOENT): No such file or directory");
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  }
}

TEST(OsError, ASuccessfulCallGivesItsResult) { EXPECT_EQ(PROCESSION_SYSCALL(3 + 4), 7); }

TEST(CheckDeathTest, SaysWhatDoesNotHold) {
  EXPECT_DEATH(PROCESSION_CHECK(1 + 1 == 3), "1 \\+ 1 == 3 does not hold");
}

}  // namespace
}  // namespace procession::base
