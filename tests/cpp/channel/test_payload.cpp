// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "channel/payload.hpp"
#include "leftovers.hpp"

namespace procession::channel {
namespace {

using Payloads = tests::LeavesNothing;

TEST_F(Payloads, SmallOnesAreInlineLargeOnesInMemory) {
  PayloadWriter writer;
  std::string part(PayloadWriter::kInlineLimit / 2, 'a');
  writer.append(base::as_bytes(part));
  writer.append(base::as_bytes(part));
  Payload small = writer.take();
  EXPECT_TRUE(small.is_inline());
  for (int i = 0; i < 3; ++i) writer.append(base::as_bytes(part));
  Payload large = writer.take();
  EXPECT_FALSE(large.is_inline());
  EXPECT_EQ(PayloadReader(std::move(small)).bytes().size(), 2 * part.size());
  EXPECT_EQ(PayloadReader(std::move(large)).bytes().size(), 3 * part.size());
}

TEST_F(Payloads, AnEmptyOneHasNoBytes) {
  EXPECT_TRUE(PayloadReader(PayloadWriter().take()).bytes().empty());
}

TEST_F(Payloads, AWriterStartsAnewAfterTake) {
  PayloadWriter writer;
  writer.append(base::as_bytes(std::string(100'000, 'x')));
  writer.take();
  writer.append(base::as_bytes("new"));
  PayloadReader reader(writer.take());
  EXPECT_EQ(base::as_text(reader.bytes()), "new");
}

}  // namespace
}  // namespace procession::channel
