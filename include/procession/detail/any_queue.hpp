// SPDX-License-Identifier: Apache-2.0
// detail/any_queue: a queue without its type: the compiled half's hold on it.
#pragma once

#include <cstddef>

#include "procession/detail/shared.hpp"

namespace procession::detail {

// A message that is being written. Dropped without a put, it leaves nothing behind.
class PROCESSION_EXPORT MessageDraft {
 public:
  MessageDraft();
  ~MessageDraft();
  MessageDraft(const MessageDraft&) = delete;
  MessageDraft& operator=(const MessageDraft&) = delete;

  Outgoing& out() noexcept;

 private:
  friend class AnyQueue;
  struct Desk;

  Desk* desk_;
};

// Room for a message that is received: to be read before the next one of this thread.
class PROCESSION_EXPORT Arrival {
 public:
  Arrival();
  ~Arrival();
  Arrival(const Arrival&) = delete;
  Arrival& operator=(const Arrival&) = delete;

  Incoming& in() noexcept;

 private:
  friend class AnyQueue;
  struct Desk;

  Desk* desk_;
};

class PROCESSION_EXPORT AnyQueue : public SharedHandle<QueueState> {
 public:
  explicit AnyQueue(int maxsize);

  // False if there was no room, or nothing, for so long.
  bool put(MessageDraft& draft, Seconds timeout) const;
  bool get(Arrival& arrival, Seconds timeout) const;

  // The same for a message that is `size` bytes and nothing else.
  bool put_bytes(const void* data, std::size_t size, Seconds timeout) const;
  bool get_bytes(void* data, std::size_t size, Seconds timeout) const;

  std::size_t size() const;
  bool full() const;
  std::size_t lost() const;
  void task_done() const;
  bool join(Seconds timeout) const;
  void close() noexcept { drop(); }
  bool closed() const noexcept { return !valid(); }
};

}  // namespace procession::detail
