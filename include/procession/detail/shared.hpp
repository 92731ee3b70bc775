// SPDX-License-Identifier: Apache-2.0
// detail/shared: what handles of things in the session's memory have in common.
//
// A copy of a handle names the same thing, in this process and in every other that it travels to, as
// an argument, a task's too, through queues and over connections. A thing is there while somebody
// has a handle of it or is on the way to get one. A moved-from handle is invalid.
#pragma once

#include <chrono>
#include <concepts>
#include <memory>
#include <utility>

#include "procession/detail/archive.hpp"
#include "procession/detail/export.hpp"

namespace procession::detail {

// Of waits. Zero and less: not at all; Seconds::max(): for ever.
using Seconds = std::chrono::duration<double>;

struct LockState;
struct ConditionState;
struct EventState;
struct BarrierState;
struct QueueState;
struct BytesState;

// How a thing travels: by its name. std::runtime_error if it doesn't exist any more, or never did in
// this session.
template <class State>
struct PROCESSION_EXPORT Travel {
  static void send(Outgoing& out, const std::shared_ptr<State>& state);
  static std::shared_ptr<State> receive(Incoming& in);
};
extern template struct Travel<LockState>;
extern template struct Travel<ConditionState>;
extern template struct Travel<EventState>;
extern template struct Travel<BarrierState>;
extern template struct Travel<QueueState>;
extern template struct Travel<BytesState>;

[[noreturn]] PROCESSION_EXPORT void throw_invalid_handle();

template <class State>
class SharedHandle {
 public:
  template <std::same_as<Encoder> Archive>
  void CEREAL_SAVE_FUNCTION_NAME(Archive& archive) const {
    Travel<State>::send(archive.out(), state_);
  }
  template <std::same_as<Decoder> Archive>
  void CEREAL_LOAD_FUNCTION_NAME(Archive& archive) {
    state_ = Travel<State>::receive(archive.in());
  }

 protected:
  SharedHandle() = default;
  explicit SharedHandle(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

  bool valid() const noexcept { return state_ != nullptr; }
  void drop() noexcept { state_.reset(); }
  State& state() const {
    if (!state_) throw_invalid_handle();
    return *state_;
  }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace procession::detail
