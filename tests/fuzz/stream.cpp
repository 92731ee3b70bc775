// SPDX-License-Identifier: Apache-2.0
// channel/stream: any bytes, in any pieces, are cut into the messages that they are.
#include "channel/stream.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "input.hpp"

namespace procession::fuzz {

namespace {

using channel::Incoming;
using channel::Step;

constexpr std::uint64_t kMost = 1 << 16;  // bytes of a message for which there is room

// The same, of bytes that are all there.
class Flat {
 public:
  explicit Flat(base::BytesView bytes) : left_(bytes) {}

  // What the next message begins with: kSized, kBadLength, or kNothing if that isn't all there.
  Step begin() {
    if (left_.size() < 4) return Step::kNothing;
    size_ = take(4);
    if (size_ <= 0x7fffffff) return Step::kSized;
    if (size_ != 0xffffffff) return Step::kBadLength;
    if (left_.size() < 8) return Step::kNothing;
    size_ = take(8);
    return Step::kSized;
  }
  std::uint64_t size() const { return size_; }
  base::BytesView body() {
    base::BytesView body = left_.first(std::min<std::size_t>(size_, left_.size()));
    left_ = left_.subspan(body.size());
    return body;
  }

 private:
  std::uint64_t take(std::size_t size) {
    std::uint64_t value = 0;
    for (std::byte byte : left_.first(size)) {
      value = value << 8 | std::to_integer<std::uint64_t>(byte);
    }
    left_ = left_.subspan(size);
    return value;
  }

  base::BytesView left_;
  std::uint64_t size_ = 0;
};

// Hands the bytes on piece by piece, each as soon as there is nothing left to read.
class Sender {
 public:
  Sender(Input& pieces, base::BytesView bytes, bool is_socket)
      : pieces_(pieces), left_(bytes), ends_(is_socket ? os::socket_pair() : os::pipe_pair()) {}

  channel::StreamEnd reader() const {
    return {ends_.first.get(), os::stream_kind(ends_.first.get())};
  }
  void send() {
    if (left_.empty()) return ends_.second.reset();
    base::BytesView piece = left_.first(std::min(left_.size(), 1 + pieces_.below(40)));
    os::Moved moved = os::try_write(ends_.second.get(), os::StreamKind::kOther, piece, {});
    left_ = left_.subspan(moved.bytes);
  }

 private:
  Input& pieces_;
  base::BytesView left_;
  std::pair<os::Fd, os::Fd> ends_;
};

Step read(Incoming& incoming, Sender& sender, std::size_t most) {
  Step step = Step::kNothing;
  while ((step = incoming.read(sender.reader(), most)) == Step::kNothing) sender.send();
  return step;
}

}  // namespace

void fuzz(Input input) {
  bool is_socket = input.below(2) == 0;
  Input pieces(input.bytes(8));
  std::size_t most = 1 + input.number<std::uint8_t>();
  base::BytesView bytes = input.rest();
  Flat flat(bytes);
  Sender sender(pieces, bytes, is_socket);
  Incoming incoming;
  while (true) {
    Step begun = read(incoming, sender, most);
    Step wanted = flat.begin();
    PROCESSION_CHECK(begun == (wanted == Step::kNothing ? Step::kPeerGone : wanted));
    if (begun != Step::kSized) return;
    PROCESSION_CHECK(incoming.size() == flat.size());
    if (incoming.size() > kMost) return;
    base::Bytes room(incoming.size());
    incoming.give_room(room);
    base::BytesView body = flat.body();
    Step ended = read(incoming, sender, most);
    PROCESSION_CHECK(ended == (body.size() == room.size() ? Step::kDone : Step::kPeerGone));
    PROCESSION_CHECK(std::ranges::equal(body, base::BytesView(room).first(body.size())));
    if (ended != Step::kDone) return;
  }
}

}  // namespace procession::fuzz
