// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include "os/cpu.hpp"

namespace procession::os {
namespace {

TEST(Cpu, ThereIsAtLeastOne) {
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_LE(usable_cpus(), affine_cpus());
  EXPECT_LE(affine_cpus(), ::sysconf(_SC_NPROCESSORS_CONF));
}

TEST(Cpu, TheCurrentOneIsOneOfThem) {
  cpu_set_t mask;
  ASSERT_EQ(::sched_getaffinity(0, sizeof mask, &mask), 0);
  EXPECT_TRUE(CPU_ISSET(current_cpu(), &mask));
}

TEST(Cpu, MovingLeavesTheMaskAsItWas) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  move_to_another_cpu();
  cpu_set_t after;
  ASSERT_EQ(::sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST(Cpu, WhereThereIsOneCpuNobodyMoves) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(current_cpu(), &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_cpus(), 1);
  move_to_another_cpu();
  EXPECT_TRUE(CPU_ISSET(current_cpu(), &one));
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace procession::os
