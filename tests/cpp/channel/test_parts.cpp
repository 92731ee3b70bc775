// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>

#include "channel/parts.hpp"

namespace procession::channel {
namespace {

Part part(std::string_view one, std::string_view two = {}) {
  return {{base::as_bytes(one), base::as_bytes(two), {}}};
}

TEST(Parts, AreReadAsTheyWereWritten) {
  const std::string large(200'000, 'x');
  const std::vector<Part> parts{part("ab", "c"), part(""), part(large)};
  base::Bytes memory(room_for(parts));
  write_parts(memory, parts);
  auto found = read_parts(memory);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 3U);
  EXPECT_EQ(base::as_text((*found)[0]), "abc");
  EXPECT_EQ(base::as_text((*found)[1]), "");
  EXPECT_EQ(base::as_text((*found)[2]), large);
  for (std::span<std::byte> each : *found) {
    EXPECT_EQ((each.data() - memory.data()) % 64, 0) << "aligned, as arrays want to be";
  }
}

TEST(Parts, AreNotFoundWhereTheyCannotBe) {
  const std::vector<Part> parts{part("abc"), part("def")};
  base::Bytes memory(room_for(parts));
  EXPECT_FALSE(read_parts(memory)) << "no mark";
  EXPECT_FALSE(read_parts({}));
  write_parts(memory, parts);
  EXPECT_TRUE(read_parts(memory));
  EXPECT_FALSE(read_parts(std::span(memory).first(memory.size() - 64)));
  const std::vector<Part> only{part("abc")};
  base::Bytes one(room_for(only));
  write_parts(one, only);
  for (std::size_t size = 0; size < 16; ++size) {  // not even its size is all there
    base::Bytes beginning(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(read_parts(beginning)) << size;
  }
  for (std::uint64_t size : {~std::uint64_t{0}, std::uint64_t{65}, std::uint64_t{1} << 40}) {
    std::memcpy(memory.data() + 16, &size, sizeof size);  // the second one's
    EXPECT_FALSE(read_parts(memory)) << size;
  }
  std::uint32_t count = ~std::uint32_t{0};
  std::memcpy(memory.data() + 4, &count, sizeof count);
  EXPECT_FALSE(read_parts(memory));
}

}  // namespace
}  // namespace procession::channel
