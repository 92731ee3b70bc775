// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.hpp"
#include "leftovers.hpp"
#include "os/cpu.hpp"
#include "os/surroundings.hpp"

namespace procession::os {
namespace {

namespace fs = std::filesystem;

class SurroundingsTest : public tests::LeavesNothing {
 protected:
  void SetUp() override {
    LeavesNothing::SetUp();
    before_ = current_surroundings();
  }
  void TearDown() override {
    apply(before_);
    LeavesNothing::TearDown();
  }

  Surroundings before_;
};

TEST_F(SurroundingsTest, WhatIsTheSameAlreadyIsLeftAlone) {
  EXPECT_FALSE(apply(current_surroundings()));
}

TEST_F(SurroundingsTest, EnvironmentDirectoryAndUmaskAreApplied) {
  ::setenv("PROCESSION_TEST", "a=b", 1);
  ::umask(027);
  fs::current_path("/tmp");
  Surroundings wanted = current_surroundings();
  apply(before_);
  EXPECT_EQ(::getenv("PROCESSION_TEST"), nullptr);
  EXPECT_TRUE(apply(wanted));
  EXPECT_STREQ(::getenv("PROCESSION_TEST"), "a=b");
  EXPECT_EQ(fs::current_path(), "/tmp");
  EXPECT_EQ(current_surroundings().umask, 027U);
}

TEST_F(SurroundingsTest, ADirectoryThatCantBeEnteredIsNamed) {
  Surroundings wanted = before_;
  wanted.cwd = "/no/such/directory";
  try {
    apply(wanted);
    FAIL() << "no error";
  } catch (const base::OsError& error) {
    EXPECT_NE(std::string(error.what()).find("/no/such/directory"), std::string::npos);
  }
}

TEST_F(SurroundingsTest, ARemovedDirectoryHasNoPath) {
  fs::path folder = fs::temp_directory_path() / ("procession-" + std::to_string(::getpid()));
  fs::create_directory(folder);
  fs::current_path(folder);
  fs::remove(folder);
  Surroundings found = current_surroundings();
  EXPECT_EQ(found.cwd, "");
  fs::current_path("/");
  EXPECT_NO_THROW(apply(found));
}

TEST_F(SurroundingsTest, AsAnExecTakesIt) {
  Surroundings surroundings{std::string("A=1\0B=\0", 7), "/", 0};
  EXPECT_EQ(env_strings(surroundings), (std::vector<std::string>{"A=1", "B="}));
}

}  // namespace
}  // namespace procession::os
