// SPDX-License-Identifier: Apache-2.0
#include "channel/stream.hpp"

#include <algorithm>

namespace procession::channel {

namespace {

constexpr std::uint64_t kLongestShort = 0x7fffffff;
constexpr std::size_t kShortHeader = 4;
constexpr std::size_t kLongHeader = 12;

void put_big_endian(std::span<std::byte> out, std::uint64_t value) noexcept {
  for (auto at = out.rbegin(); at != out.rend(); ++at, value >>= 8) {
    *at = static_cast<std::byte>(value & 0xff);
  }
}

std::uint64_t big_endian(base::BytesView in) noexcept {
  std::uint64_t value = 0;
  for (std::byte byte : in) value = value << 8 | std::to_integer<std::uint64_t>(byte);
  return value;
}

}  // namespace

Step Incoming::read_header(StreamEnd end) {
  constexpr std::uint64_t kMinusOne = 0xffffffff;
  std::span<std::byte> header(header_);
  std::size_t wanted = kShortHeader;
  while (true) {
    if (header_filled_ >= kShortHeader) {
      std::uint64_t length = big_endian(header.first(kShortHeader));
      if (length <= kLongestShort) {
        size_ = length;
        break;
      }
      if (length != kMinusOne) return Step::kBadLength;
      wanted = kLongHeader;
      if (header_filled_ == kLongHeader) {
        size_ = big_endian(header.subspan(kShortHeader));
        break;
      }
    }
    std::span<std::byte> rest = header.subspan(header_filled_, wanted - header_filled_);
    os::Moved moved = os::try_read(end.fd, end.kind, rest);
    if (moved.flow == os::Flow::kPeerGone) return Step::kPeerGone;
    if (moved.flow == os::Flow::kNothing) return Step::kNothing;
    header_filled_ += moved.bytes;
  }
  is_sized_ = true;
  return Step::kSized;
}

Step Incoming::read(StreamEnd end, std::size_t most) {
  if (!is_sized_) {
    Step step = read_header(end);
    if (step != Step::kSized) return step;
  }
  if (!room_) return Step::kSized;
  while (filled_ < size_) {
    if (most == 0) return Step::kNothing;
    std::span<std::byte> rest = room_->subspan(filled_);
    rest = rest.first(std::min(rest.size(), most));
    os::Moved moved = os::try_read(end.fd, end.kind, rest);
    if (moved.flow == os::Flow::kPeerGone) return Step::kPeerGone;
    if (moved.flow == os::Flow::kNothing) return Step::kNothing;
    filled_ += moved.bytes;
    most -= moved.bytes;
  }
  std::uint64_t size = size_;
  *this = Incoming();
  size_ = size;
  return Step::kDone;
}

Outgoing::Outgoing(base::BytesView body) noexcept : body_(body) {
  std::span<std::byte> header(header_);
  header_size_ = body.size() <= kLongestShort ? kShortHeader : kLongHeader;
  put_big_endian(header.first(kShortHeader),
                 header_size_ == kShortHeader ? body.size() : ~std::uint64_t{0});
  put_big_endian(header.subspan(kShortHeader), body.size());
}

Step Outgoing::write(StreamEnd end) {
  while (header_gone_ < header_size_ || !body_.empty()) {
    base::BytesView head = base::BytesView(header_).first(header_size_).subspan(header_gone_);
    os::Moved moved = os::try_write(end.fd, end.kind, head, body_);
    if (moved.flow == os::Flow::kPeerGone) return Step::kPeerGone;
    if (moved.flow == os::Flow::kNothing) return Step::kNothing;
    std::size_t of_header = std::min(moved.bytes, head.size());
    header_gone_ += of_header;
    body_ = body_.subspan(moved.bytes - of_header);
  }
  return Step::kDone;
}

void Outgoing::keep_rest() {
  kept_.assign(body_.begin(), body_.end());
  body_ = kept_;
}

}  // namespace procession::channel
