// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/deadline.hpp"

namespace procession::base {
namespace {

using Seconds = std::chrono::duration<double>;

TEST(Deadline, NeverHasNoEnd) {
  EXPECT_TRUE(Deadline::never().is_never());
  EXPECT_FALSE(Deadline::never().passed());
  EXPECT_EQ(Deadline::never().remaining_ms(), -1);
}

TEST(Deadline, NowHasPassed) {
  EXPECT_TRUE(Deadline::now().passed());
  EXPECT_EQ(Deadline::now().remaining_ms(), 0);
}

TEST(Deadline, ANegativeDurationIsNow) { EXPECT_TRUE(Deadline::after(Seconds(-1)).passed()); }

TEST(Deadline, ADurationTooLargeForTheClockIsNever) {
  EXPECT_TRUE(Deadline::after(Seconds::max()).is_never());
  EXPECT_TRUE(Deadline::after(Seconds(1e300)).is_never());
}

TEST(Deadline, MillisecondsAreRoundedUp) {
  // A wait of less than a millisecond must not become a busy loop.
  EXPECT_GE(Deadline::after(std::chrono::hours(1)).remaining_ms(), 1);
  EXPECT_EQ(Deadline::after(std::chrono::hours(24 * 40)).remaining_ms(),
            std::numeric_limits<int>::max());
}

}  // namespace
}  // namespace procession::base
