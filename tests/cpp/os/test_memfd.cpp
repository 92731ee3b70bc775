// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "leftovers.hpp"
#include "os/memfd.hpp"

namespace procession::os {
namespace {

using Memfd = tests::LeavesNothing;

TEST_F(Memfd, WhatIsAppendedIsMapped) {
  Fd file = create_memfd("test");
  append(file, base::as_bytes("one "));
  append(file, {});
  append(file, base::as_bytes("two"));
  EXPECT_EQ(base::as_text(Mapping(file).bytes()), "one two");
}

TEST_F(Memfd, AnEmptyOneMapsToNothing) {
  EXPECT_TRUE(Mapping(create_memfd("test")).bytes().empty());
}

TEST_F(Memfd, AMappingOutlivesItsDescriptor) {
  Fd file = create_memfd("test");
  append(file, base::as_bytes("bytes"));
  Mapping mapping(file);
  file.reset();
  Mapping moved = std::move(mapping);
  EXPECT_EQ(base::as_text(moved.bytes()), "bytes");
}

}  // namespace
}  // namespace procession::os
