// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/bytes.hpp"

namespace procession::base {
namespace {

TEST(Bytes, FieldsComeBackInOrder) {
  ByteWriter writer;
  writer.number<std::uint8_t>(7);
  writer.text("");
  writer.text("name");
  writer.number(-3.5);
  writer.number(true);
  Bytes bytes = writer.take();
  ByteReader reader(bytes);
  EXPECT_EQ(reader.number<std::uint8_t>(), 7);
  EXPECT_EQ(reader.text(), "");
  EXPECT_EQ(reader.text(), "name");
  EXPECT_EQ(reader.number<double>(), -3.5);
  EXPECT_TRUE(reader.number<bool>());
  EXPECT_TRUE(reader.rest().empty());
}

TEST(Bytes, ATruncatedRecordIsAnErrorAtEveryLength) {
  ByteWriter writer;
  writer.number<std::uint32_t>(1);
  writer.text("twelve bytes");
  Bytes whole = writer.take();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ByteReader reader(BytesView(whole).first(size));
    EXPECT_THROW(
        {
          reader.number<std::uint32_t>();
          reader.text();
        },
        std::runtime_error)
        << size;
  }
}

TEST(Bytes, ALengthBeyondTheEndIsNoRead) {
  ByteWriter writer;
  writer.number<std::uint64_t>(~std::uint64_t{0});
  Bytes bytes = writer.take();
  EXPECT_THROW(ByteReader(bytes).text(), std::runtime_error);
}

TEST(Bytes, AnyByteIsABool) {
  Bytes bytes{std::byte{0}, std::byte{1}, std::byte{170}};
  ByteReader reader(bytes);
  EXPECT_FALSE(reader.number<bool>());
  EXPECT_TRUE(reader.number<bool>());
  EXPECT_TRUE(reader.number<bool>());
}

TEST(Bytes, RestIsWhatWasNotRead) {
  ByteWriter writer;
  writer.number<std::uint16_t>(9);
  writer.number<std::uint16_t>(10);
  Bytes bytes = writer.take();
  ByteReader reader(bytes);
  reader.number<std::uint16_t>();
  EXPECT_EQ(reader.rest().size(), 2U);
  EXPECT_TRUE(reader.rest().empty());
}

}  // namespace
}  // namespace procession::base
