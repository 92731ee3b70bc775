// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "leftovers.hpp"
#include "os/fd.hpp"

namespace procession::os {
namespace {

using Descriptor = tests::LeavesNothing;

TEST_F(Descriptor, AMovedFromOneIsInvalid) {
  Fd one = open_null();
  int number = one.get();
  Fd two = std::move(one);
  EXPECT_FALSE(one.valid());  // NOLINT(bugprone-use-after-move): that it is invalid is promised
  EXPECT_EQ(two.get(), number);
  two = Fd();
  EXPECT_FALSE(is_open(number));
}

TEST_F(Descriptor, EveryOneIsCloseOnExecAndAboveTheStandardOnes) {
  Fd one = open_null();
  Fd two = duplicate(one.get());
  EXPECT_TRUE(::fcntl(one.get(), F_GETFD) & FD_CLOEXEC);
  EXPECT_TRUE(::fcntl(two.get(), F_GETFD) & FD_CLOEXEC);
  EXPECT_GE(two.get(), 3);
}

TEST_F(Descriptor, AReplacedOneIsInherited) {
  Fd one = open_null();
  Fd two = open_null();
  replace_fd(one.get(), two.get());
  EXPECT_FALSE(::fcntl(two.get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(Descriptor, DuplicatingNothingIsAnError) { EXPECT_THROW(duplicate(-1), base::OsError); }

}  // namespace
}  // namespace procession::os
