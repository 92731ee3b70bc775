// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "leftovers.hpp"
#include "os/module.hpp"

namespace procession::os {
namespace {

int in_the_program() { return 1; }

const void* address_of(int (*function)()) { return reinterpret_cast<const void*>(function); }

TEST(Module, AFunctionOfTheProgramIsFoundAgain) {
  FunctionPlace place = locate(address_of(in_the_program));
  EXPECT_EQ(place.module, "");
  EXPECT_FALSE(place.build.empty());
  EXPECT_EQ(resolve(place), address_of(in_the_program));
}

TEST(Module, AFunctionOfALibraryIsFoundAgain) {
  const void* function = reinterpret_cast<const void*>(&::getpid);
  FunctionPlace place = locate(function);
  EXPECT_EQ(resolve(place), function);
}

TEST(Module, NullIsKept) { EXPECT_EQ(resolve(locate(nullptr)), nullptr); }

TEST(Module, CodeInNoModuleIsRefused) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_THROW(locate(page), std::invalid_argument);
  ::munmap(page, 4096);
}

TEST(Module, AnotherBuildIsRefused) {
  FunctionPlace place = locate(address_of(in_the_program));
  place.build = "another";
  EXPECT_THROW(resolve(place), std::runtime_error);
}

TEST(Module, AModuleThatIsNotThereIsNamed) {
  FunctionPlace place = locate(address_of(in_the_program));
  place.module = "/no/such/module.so";
  try {
    resolve(place);
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/no/such/module.so"), std::string::npos);
  }
}

}  // namespace
}  // namespace procession::os
