// SPDX-License-Identifier: Apache-2.0
#include "procession/connection.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "api/bytes.hpp"
#include "api/entry.hpp"
#include "api/session_blocks.hpp"
#include "api/shared.hpp"
#include "base/error.hpp"
#include "os/poll.hpp"
#include "os/socket.hpp"
#include "pool/board.hpp"
#include "procession/error.hpp"
#include "shm/pipe_blocks.hpp"

namespace procession::detail {

namespace {

enum Kind : std::uint32_t {  // of a message
  kValue = 1,
  kValueInBlocks = 2,
};

// The engine's functions take an os::Fd; this one is owned elsewhere.
class Borrowed {
 public:
  explicit Borrowed(int fd) noexcept : fd_(fd) {}
  ~Borrowed() { static_cast<void>(fd_.release()); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  operator const os::Fd&() const noexcept { return fd_; }  // NOLINT(google-explicit-constructor)

 private:
  os::Fd fd_;
};

// Runs `call`; an error of the engine becomes one of the API.
template <class Call>
auto rethrowing(const char* attempted, Call call) {
  try {
    return call();
  } catch (const base::OsError& error) {
    throw OsError(error.error_number(), attempted);
  }
}

}  // namespace

// The blocks of a pipe, at one of its ends. Looked for when first needed: whoever sends and receives
// small values only has no use for the session's memory.
struct PipeState {
  PipeState(const shm::CellName& cell, int which) : end(which), name(cell) {}
  PipeState(std::shared_ptr<shm::PipeBlocks> of_both, int which)
      : end(which), made(std::move(of_both)) {}
  ~PipeState() { delete found.load(); }
  PipeState(const PipeState&) = delete;
  PipeState& operator=(const PipeState&) = delete;

  // std::runtime_error if it is there no more. No lock: a fork might take a copy of one that is held.
  shm::PipeBlocks& engine() {
    if (made) return *made;
    shm::PipeBlocks* known = found.load(std::memory_order_acquire);
    return known ? *known : find(false);
  }

  shm::PipeBlocks& find(bool arrives) {
    auto here = std::make_unique<shm::PipeBlocks>(name, arrives);
    shm::PipeBlocks* expected = nullptr;
    return found.compare_exchange_strong(expected, here.get()) ? *here.release() : *expected;
  }

  const int end;
  const std::shared_ptr<shm::PipeBlocks> made;  // by this process
  const shm::CellName name;
  std::atomic<shm::PipeBlocks*> found = nullptr;
};

Link::Link(int fd, bool readable, bool writable, std::shared_ptr<PipeState> pipe) noexcept
    : fd_(fd), readable_(readable), writable_(writable), pipe_(std::move(pipe)) {}

Link::Link(Link&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      readable_(other.readable_),
      writable_(other.writable_),
      pipe_(std::move(other.pipe_)) {}

Link& Link::operator=(Link&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    readable_ = other.readable_;
    writable_ = other.writable_;
    pipe_ = std::move(other.pipe_);
  }
  return *this;
}

Link::~Link() { close(); }

std::pair<Link, Link> Link::pair(bool duplex) {
  return rethrowing("can't make a pipe", [&] {
    auto [first, second] = os::packet_pair();
    if (!duplex) os::forbid_sending(first);
    std::shared_ptr<PipeState> here;
    std::shared_ptr<PipeState> there;
    if (!api::in_static_initialisers()) {  // which don't know of their session yet
      auto blocks = std::make_shared<shm::PipeBlocks>();
      here = std::make_shared<PipeState>(blocks, 0);
      there = std::make_shared<PipeState>(blocks, 1);
    }
    Link one(first.release(), true, duplex, std::move(here));
    return std::pair(std::move(one), Link(second.release(), duplex, true, std::move(there)));
  });
}

Link Link::duplicate() const {
  int fd = fileno();
  return rethrowing("can't duplicate a connection",
                    [&] { return Link(os::duplicate(fd).release(), readable_, writable_, pipe_); });
}

void Link::write(Outgoing& out) const {
  out.descriptor(fileno());
  for (bool flag : {readable_, writable_, pipe_ != nullptr}) out.write(&flag, sizeof flag);
  if (!pipe_) return;
  bool arrives = api::send_once(out, pipe_->engine().cell());
  out.write(&arrives, sizeof arrives);
  out.write(&pipe_->end, sizeof pipe_->end);
}

Link Link::read(Incoming& in) {
  os::Fd fd(in.descriptor());
  std::array<bool, 3> flags{};
  for (bool& flag : flags) read_plain<bool>(in, &flag, sizeof flag);
  std::shared_ptr<PipeState> pipe;
  if (flags[2]) {
    std::optional<shm::CellName> name = api::receive(in);
    bool arrives = false;
    read_plain<bool>(in, &arrives, sizeof arrives);
    int end = 0;
    in.read(&end, sizeof end);
    if (name) pipe = std::make_shared<PipeState>(*name, end == 0 ? 0 : 1);
    if (pipe && arrives) pipe->find(true);
  }
  return Link(fd.release(), flags[0], flags[1], std::move(pipe));
}

int Link::fileno() const {
  if (closed()) throw std::logic_error("handle is closed");
  return fd_;
}

void Link::close() noexcept {
  os::Fd(std::exchange(fd_, -1)).reset();
  pipe_.reset();
}

void Link::check_writable() const {
  fileno();
  if (!writable_) throw std::logic_error("connection is read-only");
}

namespace {

// Of values whose large parts lie in blocks:
//
//   payload = u32 count   u32 is_first   u64 number × count   a task's bytes
//   is_first: the task's bytes are the first block
struct BlocksHead {
  std::uint32_t count;
  std::uint32_t is_first;
};

using Numbers = std::vector<std::uint64_t>;

constexpr std::size_t kMostInline = pool::kLargestInline;  // of a task's bytes

// Blocks that are on their way, taken back unless they are forgotten by then.
struct Numbered {
  Numbered(PipeState* of, Numbers handed_over) : pipe(of), numbers(std::move(handed_over)) {}
  ~Numbered() {
    for (std::uint64_t number : numbers) pipe->engine().take_back(pipe->end, number);
  }
  Numbered(const Numbered&) = delete;
  Numbered& operator=(const Numbered&) = delete;

  PipeState* pipe;
  Numbers numbers;
};

// None if there is no room for them on their way, or nobody refers to the pipe any more.
Numbers hand_over(PipeState& pipe, std::span<const shm::Block> blocks) {
  if (blocks.empty()) return {};
  try {
    return pipe.engine().hand_over(pipe.end, blocks);
  } catch (const std::runtime_error&) {
    return {};
  }
}

// What was written, as the message's payload: large parts in blocks, by number, if there is room for them on
// their way; if so, returns the numbers.
Numbers pack(Outgoing::State& state, PipeState& pipe) {
  base::BytesView payload = state.own_task->payload();
  api::HeldBlocks blocks(state.own_task->take_blocks());
  BlocksHead head{0, payload.size() > kMostInline};
  if (head.is_first) blocks.put_first(payload);
  Numbers numbers = hand_over(pipe, blocks.get());
  if (numbers.empty()) {
    std::vector<base::BytesView> contents = blocks.contents();
    std::vector<base::BytesView> pieces;
    api::cut(payload, std::span(contents).subspan(head.is_first), pieces);
    for (base::BytesView piece : pieces) state.writer.append(piece);
    return {};
  }
  blocks.are_handed_over();
  head.count = static_cast<std::uint32_t>(numbers.size());
  state.writer.append(std::as_bytes(std::span(&head, 1)));
  state.writer.append(std::as_bytes(std::span(numbers)));
  if (!head.is_first) state.writer.append(payload);
  return numbers;
}

std::unique_ptr<Incoming::State> with_blocks(channel::Message message, PipeState& pipe) {
  auto state =
      std::make_unique<Incoming::State>(std::move(message.payload), std::move(message.fds));
  BlocksHead head{};
  state->read(std::as_writable_bytes(std::span(&head, 1)));
  bool is_one = head.count > 0 && head.count <= shm::PipeBlocks::kMost && head.is_first <= 1;
  if (!is_one) throw std::runtime_error("procession: a message is torn");
  for (std::uint32_t i = 0; i < head.count; ++i) {
    std::uint64_t number = 0;
    state->read(std::as_writable_bytes(std::span(&number, 1)));
    state->blocks.add(pipe.engine().take(1 - pipe.end, number));
  }
  std::vector<base::BytesView> contents = state->blocks.contents();
  base::BytesView payload = head.is_first ? contents.front() : state->rest;
  state->show(payload, std::span(contents).subspan(head.is_first));
  return state;
}

}  // namespace

void Link::prepare(Outgoing& out) const {
  if (!pipe_) return;
  Outgoing::State& state = out.state();
  state.own_task = std::make_unique<api::TaskWriter>();
  state.own_task->begin(api::session_blocks());
  state.task = state.own_task.get();
}

void Link::send(Outgoing& out) const {
  Outgoing::State& state = out.state();
  bool was_sent = rethrowing("can't send over a connection", [&] {
    Numbered blocks(pipe_.get(), state.own_task ? pack(state, *pipe_) : Numbers());
    std::uint32_t kind = blocks.numbers.empty() ? kValue : kValueInBlocks;
    bool sent = channel::send_message(Borrowed(fd_), kind, state.writer.take(), state.fds);
    if (sent) blocks.numbers.clear();
    return sent;
  });
  if (!was_sent) throw OsError(EPIPE, "can't send: the other end of the connection is closed");
}

Incoming Link::receive() const {
  fileno();
  if (!readable_) throw std::logic_error("connection is write-only");
  channel::Message message;
  os::Received received = os::Received::kInterrupted;
  while (received == os::Received::kInterrupted) {
    received = rethrowing("can't receive from a connection",
                          [&] { return channel::receive_message(Borrowed(fd_), message, true); });
  }
  if (received != os::Received::kPacket) throw EOFError();
  if (message.kind == kValueInBlocks) {
    if (!pipe_)
      throw std::runtime_error("procession: a message is torn");  // not to be read as a value
    return Incoming(rethrowing("can't receive from a connection",
                               [&] { return with_blocks(std::move(message), *pipe_); }));
  }
  return Incoming(
      std::make_unique<Incoming::State>(std::move(message.payload), std::move(message.fds)));
}

bool Link::poll(Seconds timeout) const {
  fileno();
  if (!readable_) throw std::logic_error("connection is write-only");
  base::Deadline deadline = base::Deadline::after(timeout);
  base::Waited waited = base::Waited::kInterrupted;
  while (waited == base::Waited::kInterrupted) waited = os::wait_readable(fd_, deadline);
  return waited == base::Waited::kReady;
}

}  // namespace procession::detail
