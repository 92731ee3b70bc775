// SPDX-License-Identifier: Apache-2.0
// What the front door makes of bytes that it never wrote.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <regex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <vector>

#include "api/bytes.hpp"
#include "api/failure.hpp"
#include "api/role_record.hpp"
#include "procession/detail/archive.hpp"
#include "procession/error.hpp"

namespace procession::tests {
namespace {

template <class T>
T read(const base::Bytes& bytes) {
  detail::Incoming in(std::make_unique<detail::Incoming::State>());
  in.state().show(bytes, {});
  detail::Decoder decoder(in);
  return detail::decode<T>(decoder);
}

TEST(Decoders, AnyByteIsABool) {
  base::Bytes bytes(2, std::byte{170});
  EXPECT_EQ(read<bool>(bytes), true);
  EXPECT_EQ((read<std::array<bool, 2>>(bytes)), (std::array{true, true}));
}

TEST(Decoders, NoMoreIsExpectedThanThereIs) {
  base::ByteWriter writer;
  writer.number<std::uint64_t>(std::uint64_t{1} << 36);
  base::Bytes bytes = writer.take();
  EXPECT_THROW(read<std::vector<double>>(bytes), std::runtime_error);
  EXPECT_THROW(read<std::string>(bytes), std::runtime_error);
}

struct Nothing {};

TEST(Decoders, ManyOfNothingAreRead) {
  base::ByteWriter writer;
  writer.number<std::uint64_t>(1000);
  EXPECT_EQ(read<std::vector<Nothing>>(writer.take()).size(), 1000U);
}

TEST(Decoders, AnIdentityThatIsNoRowOfNumbersEndsBeforeTheRest) {
  base::ByteWriter fields;
  fields.text("Process");
  fields.text("MainProcess");
  fields.number(true);
  fields.number<std::uint8_t>(0);
  fields.bytes(base::Bytes(7));
  base::ByteWriter record;
  record.bytes(fields.take());
  base::Bytes bytes = record.take();
  detail::Incoming::State in;
  in.show(bytes, {});
  EXPECT_EQ(api::read_role(in).identity, std::vector{0});
}

TEST(Decoders, AnErrorOfAnUnknownCategoryIsTold) {
  base::ByteWriter writer;
  writer.text(typeid(std::system_error).name());
  writer.text("std::system_error");
  writer.text("the disk is full");
  writer.text("");
  writer.text("a category of nobody's");
  writer.number(28);
  std::exception_ptr failure = api::decode_failure(writer.take());
  EXPECT_EQ(api::describe(failure), "std::system_error: the disk is full");
}

TEST(Decoders, ACodeThatIsNoneIsTold) {
  base::ByteWriter writer;
  writer.text(typeid(std::regex_error).name());
  writer.text("std::regex_error");
  writer.text("wrong");
  writer.number(67'108'870);
  EXPECT_EQ(api::describe(api::decode_failure(writer.take())), "std::regex_error: wrong");
}

}  // namespace
}  // namespace procession::tests
