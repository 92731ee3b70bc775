// SPDX-License-Identifier: Apache-2.0
#include "procession/queue.hpp"

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "api/bytes.hpp"
#include "api/session_blocks.hpp"
#include "api/shared.hpp"
#include "shm/message_queue.hpp"

namespace procession::detail {

namespace {

// How a message's payload is to be read.
enum Form : std::uint32_t {
  kBytes = 1,      // a number
  kWritten = 2,    // what was written to an Outgoing, in the manner of api/task_bytes
  kInBlock = 256,  // the payload is the first block
};

// What each thread has one of. A serialize() that itself puts or gets takes another one.
template <class Desk>
Desk* take_desk() {
  thread_local Desk of_this_thread;
  Desk* desk = &of_this_thread;
  if (desk->taken) {
    desk = new Desk;
    desk->only_once = true;
  }
  desk->taken = true;
  return desk;
}

template <class Desk>
void give_back(Desk* desk) {
  desk->taken = false;
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete): the thread's own one isn't "only once"
  if (desk->only_once) delete desk;
}

[[noreturn]] void wrong_message() {
  throw std::runtime_error("procession: a message of a queue isn't what this queue is for");
}

}  // namespace

struct QueueState : api::Shared<shm::MessageQueue> {
  std::atomic<std::size_t> lost = 0;

  // Either is tried, and tried again as long as it fails, until the deadline.
  bool put(std::uint32_t form, base::BytesView payload, std::span<const shm::Block> blocks,
           Seconds timeout) {
    shm::MessageQueue& queue = engine();
    // No with_api_errors: a closure of spans would be copied in a way that waits for all stores.
    try {
      if (queue.try_put(form, payload, blocks)) return true;
      base::Deadline deadline = api::deadline_after(timeout);
      while (!deadline.passed()) {
        queue.wait_for_room(deadline);
        if (queue.try_put(form, payload, blocks)) return true;
      }
      return false;
    } catch (const base::OsError& error) {
      throw OsError(error.error_number(), "can't put into a queue: " + error.attempted());
    }
  }

  bool get(shm::MessageQueue::Message& message, Seconds timeout) {
    shm::MessageQueue& queue = engine();
    if (!queue.try_get(message)) {
      base::Deadline deadline = api::deadline_after(timeout);
      bool is_there = false;
      while (!is_there && !deadline.passed()) {
        queue.wait_for_message(deadline);
        is_there = queue.try_get(message);
      }
      if (!is_there) return false;
    }
    if (message.lost > 0) lost.fetch_add(std::exchange(message.lost, 0));
    return true;
  }
};

template struct Travel<QueueState>;

// --- drafts

struct MessageDraft::Desk {
  Desk() { out.state().be_for_task(writer); }

  Outgoing out;
  api::TaskWriter writer;
  bool taken = false;
  bool only_once = false;
};

MessageDraft::MessageDraft() : desk_(take_desk<Desk>()) {
  desk_->writer.begin(api::session_blocks());
}

MessageDraft::~MessageDraft() {
  desk_->writer.clear();
  give_back(desk_);
}

Outgoing& MessageDraft::out() noexcept { return desk_->out; }

// --- arrivals

struct Arrival::Desk {
  static constexpr std::size_t kKept = 64 << 10;

  void clear() noexcept {
    api::HeldBlocks received(std::exchange(message.blocks, {}));
    if (message.payload.capacity() > kKept) message.payload = {};
  }

  shm::MessageQueue::Message message;
  Incoming in{std::make_unique<Incoming::State>()};
  bool taken = false;
  bool only_once = false;
};

Arrival::Arrival() : desk_(take_desk<Desk>()) {}

Arrival::~Arrival() {
  desk_->clear();
  give_back(desk_);
}

Incoming& Arrival::in() noexcept { return desk_->in; }

// --- queues

namespace {

std::shared_ptr<QueueState> make_queue(int maxsize) {
  auto most = static_cast<std::uint32_t>(std::max(0, maxsize));
  return QueueState::make_new<QueueState>(
      [most](auto& slot) { slot.emplace(most, shm::MessageQueue::Bells::kNo); });
}

}  // namespace

AnyQueue::AnyQueue(int maxsize) : SharedHandle(make_queue(maxsize)) {}

bool AnyQueue::put_bytes(const void* data, std::size_t size, Seconds timeout) const {
  return state().put(kBytes, {static_cast<const std::byte*>(data), size}, {}, timeout);
}

bool AnyQueue::get_bytes(void* data, std::size_t size, Seconds timeout) const {
  Arrival arrival;
  shm::MessageQueue::Message& message = arrival.desk_->message;
  if (!state().get(message, timeout)) return false;
  if (message.form != kBytes || message.payload.size() != size) wrong_message();
  std::memcpy(data, message.payload.data(), size);
  return true;
}

bool AnyQueue::put(MessageDraft& draft, Seconds timeout) const {
  api::TaskWriter& writer = draft.desk_->writer;
  base::BytesView payload = writer.payload();
  api::HeldBlocks blocks(writer.take_blocks());
  std::uint32_t form = kWritten;
  if (payload.size() > shm::MessageQueue::kMostInline) {
    form |= kInBlock;
    api::with_api_errors("can't put into a queue", [&] { blocks.put_first(payload); });
    payload = {};
  }
  if (blocks.get().size() > shm::MessageQueue::kMostBlocks) {
    throw std::length_error("a message of more than 65536 large parts");
  }
  bool was_put = state().put(form, payload, blocks.get(), timeout);
  if (was_put) blocks.are_handed_over();
  return was_put;
}

bool AnyQueue::get(Arrival& arrival, Seconds timeout) const {
  shm::MessageQueue::Message& message = arrival.desk_->message;
  if (!state().get(message, timeout)) return false;
  if ((message.form & ~kInBlock) != kWritten) wrong_message();
  std::vector<base::BytesView> views;
  for (shm::Block block : message.blocks) {
    views.emplace_back(shm::Commons::instance().bytes(block));
  }
  base::BytesView payload = message.payload;
  if (message.form & kInBlock) {
    if (views.empty()) wrong_message();
    payload = views.front();
    views.erase(views.begin());
  }
  arrival.desk_->in.state().show(payload, views);
  return true;
}

std::size_t AnyQueue::size() const { return state().engine().size(); }

bool AnyQueue::full() const {
  shm::MessageQueue& queue = state().engine();
  return queue.most() > 0 && queue.size() >= queue.most();
}

std::size_t AnyQueue::lost() const { return state().lost; }

void AnyQueue::task_done() const {
  if (!state().engine().task_done()) throw std::logic_error("task_done() called too many times");
}

bool AnyQueue::join(Seconds timeout) const {
  base::Deadline deadline = api::deadline_after(timeout);
  base::Waited waited = base::Waited::kInterrupted;
  while (waited == base::Waited::kInterrupted) {
    waited = state().engine().wait_for_all_done(deadline);
  }
  return waited == base::Waited::kReady;
}

}  // namespace procession::detail
