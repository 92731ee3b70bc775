// SPDX-License-Identifier: Apache-2.0
#include "channel/payload.hpp"

namespace procession::channel {

void PayloadWriter::append(base::BytesView bytes) {
  if (payload_.is_inline() && payload_.inline_bytes.size() + bytes.size() > kInlineLimit) spill();
  if (payload_.is_inline()) {
    payload_.inline_bytes.insert(payload_.inline_bytes.end(), bytes.begin(), bytes.end());
  } else {
    os::append(payload_.memory, bytes);
  }
}

void PayloadWriter::spill() {
  payload_.memory = os::create_memfd("procession:payload");
  os::append(payload_.memory, payload_.inline_bytes);
  payload_.inline_bytes.clear();
}

Payload PayloadWriter::take() { return std::exchange(payload_, {}); }

PayloadReader::PayloadReader(Payload payload) : inline_bytes_(std::move(payload.inline_bytes)) {
  if (payload.memory.valid()) mapping_ = os::Mapping(payload.memory);
}

base::BytesView PayloadReader::bytes() const noexcept {
  return mapping_.bytes().empty() ? base::BytesView(inline_bytes_) : mapping_.bytes();
}

}  // namespace procession::channel
