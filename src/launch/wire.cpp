// SPDX-License-Identifier: Apache-2.0
#include "launch/wire.hpp"

#include <array>
#include <iterator>

#include "os/process.hpp"
#include "shm/commons.hpp"

namespace procession::launch {

namespace {

enum Present : std::uint8_t { kOutput = 1, kErrorOutput = 2, kPayloadInMemory = 4, kCommons = 8 };

channel::Payload small(base::ByteWriter& writer) { return {writer.take(), {}}; }

// Takes the descriptors of a message from its front.
class FdTaker {
 public:
  explicit FdTaker(std::vector<os::Fd>& fds) : fds_(fds) {}

  os::Fd next() {
    if (at_ >= fds_.size()) throw std::runtime_error("procession: a start lacks descriptors");
    return std::move(fds_[at_++]);
  }
  std::vector<os::Fd> rest() {
    auto first = fds_.begin() + static_cast<std::ptrdiff_t>(at_);
    return {std::make_move_iterator(first), std::make_move_iterator(fds_.end())};
  }

 private:
  std::vector<os::Fd>& fds_;
  std::size_t at_ = 0;
};

}  // namespace

bool send_start(const os::Fd& socket, const StartView& start, Kind kind) {
  std::uint8_t present = 0;
  std::vector<int> fds{start.parent_pidfd};
  if (os::is_open(1)) {
    present |= kOutput;
    fds.push_back(1);
  }
  if (os::is_open(2)) {
    present |= kErrorOutput;
    fds.push_back(2);
  }
  if (!start.payload.is_inline()) {
    present |= kPayloadInMemory;
    fds.push_back(start.payload.memory.get());
  }
  if (start.with_commons) {
    present |= kCommons;
    auto [commons, arena] = shm::Commons::instance().memory();
    fds.push_back(commons);
    fds.push_back(arena);
  }
  fds.insert(fds.end(), start.fds.begin(), start.fds.end());
  base::ByteWriter writer;
  writer.number(present);
  writer.number(os::current_pid());
  writer.number(start.surroundings.umask);
  writer.text(start.name);
  writer.text(start.surroundings.cwd);
  writer.text(start.surroundings.env);
  writer.bytes(start.payload.inline_bytes);
  base::Bytes bytes = writer.take();
  channel::PayloadWriter body;  // a huge environment goes through memory, too
  body.append(bytes);
  return channel::send_message(socket, kind, body.take(), fds);
}

Start decode_start(channel::Message message) {
  channel::PayloadReader body(std::move(message.payload));
  base::ByteReader reader(body.bytes());
  FdTaker fds(message.fds);
  Start start;
  auto present = reader.number<std::uint8_t>();
  start.parent = reader.number<pid_t>();
  start.surroundings.umask = reader.number<mode_t>();
  start.name = reader.text();
  start.surroundings.cwd = reader.text();
  start.surroundings.env = reader.text();
  base::BytesView payload = reader.bytes();
  start.payload.inline_bytes.assign(payload.begin(), payload.end());
  start.parent_pidfd = fds.next();
  if (present & kOutput) start.output = fds.next();
  if (present & kErrorOutput) start.error_output = fds.next();
  if (present & kPayloadInMemory) start.payload.memory = fds.next();
  if (present & kCommons) {
    start.commons = fds.next();
    start.arena = fds.next();
  }
  start.fds = fds.rest();
  return start;
}

bool send_hello(const os::Fd& socket, pid_t child) {
  base::ByteWriter writer;
  writer.number(child);
  return channel::send_message(socket, kHello, small(writer));
}

pid_t decode_hello(const channel::Message& message) {
  return base::ByteReader(message.payload.inline_bytes).number<pid_t>();
}

bool send_refusal(const os::Fd& socket, const Refusal& refusal) {
  base::ByteWriter writer;
  writer.number(refusal.error_number);
  writer.number(refusal.needs_adoption);
  return channel::send_message(socket, kRefused, small(writer));
}

Refusal decode_refusal(const channel::Message& message) {
  base::ByteReader reader(message.payload.inline_bytes);
  Refusal refusal;
  refusal.error_number = reader.number<int>();
  refusal.needs_adoption = reader.number<bool>();
  return refusal;
}

bool send_make(const os::Fd& control, const os::Fd& child_end, bool as_orphan) {
  base::ByteWriter writer;
  writer.number(as_orphan);
  std::array<int, 1> fds{child_end.get()};
  return channel::send_message(control, kMake, small(writer), fds);
}

bool decode_make(const channel::Message& message) {
  return base::ByteReader(message.payload.inline_bytes).number<bool>();
}

}  // namespace procession::launch
