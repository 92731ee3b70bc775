// SPDX-License-Identifier: Apache-2.0
// api/shared: what is behind the public handles of things in the session's memory.
//
// One per thing and arrival, shared by the copies of a handle in this process. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/deadline.hpp"
#include "base/error.hpp"
#include "procession/detail/shared.hpp"
#include "procession/error.hpp"
#include "shm/commons.hpp"

namespace procession::api {

// Runs `call`; an error of the engine becomes one of the API.
template <class Call>
auto with_api_errors(const char* attempted, Call call) {
  try {
    return call();
  } catch (const base::OsError& error) {
    throw OsError(error.error_number(), std::string(attempted) + ": " + error.attempted());
  }
}

inline base::Deadline deadline_after(detail::Seconds timeout) {
  if (timeout.count() <= 0) return base::Deadline::at(base::Deadline::Clock::time_point::min());
  return base::Deadline::after(timeout);
}

// A thing that a static initialiser makes in a process that is being started comes to be when that
// process has learned of its session: at its start.
class AnyShared : public std::enable_shared_from_this<AnyShared> {
 public:
  AnyShared() = default;
  virtual ~AnyShared() = default;
  AnyShared(const AnyShared&) = delete;
  AnyShared& operator=(const AnyShared&) = delete;

  virtual void make() = 0;
  virtual const std::shared_ptr<shm::Cell>& cell() = 0;

  static void make_all();  // those that wait for it

 protected:
  void make_in_time();
};

template <class Engine>
class Shared : public AnyShared {
 public:
  using Slot = std::optional<Engine>;

  // A State, derived from this, whose engine `make` puts into its slot.
  template <class State>
  static std::shared_ptr<State> make_new(std::function<void(Slot&)> make) {
    auto state = std::make_shared<State>();
    state->make_ = std::move(make);
    state->make_in_time();
    return state;
  }
  template <class State>
  static std::shared_ptr<State> find(const shm::CellName& name) {
    auto state = std::make_shared<State>();
    with_api_errors("can't find what was sent", [&] { state->engine_.emplace(name); });
    return state;
  }

  void make() override {
    with_api_errors("can't share memory", [&] { make_(engine_); });
    make_ = {};
  }
  const std::shared_ptr<shm::Cell>& cell() override { return engine().cell(); }

  Engine& engine() {
    if (!engine_) not_yet();
    return *engine_;
  }

 private:
  [[noreturn]] static void not_yet() {
    throw std::logic_error(
        "can't be used in a static initialiser of a process that is itself being started: it "
        "doesn't know of its session yet");
  }

  Slot engine_;
  std::function<void(Slot&)> make_;
};

void send(detail::Outgoing& out, const std::shared_ptr<AnyShared>& thing);  // null is "none"
// Of what can be received once. Whether it is kept until it is found (Cell::keep_until_found).
bool send_once(detail::Outgoing& out, const std::shared_ptr<shm::Cell>& cell);
std::optional<shm::CellName> receive(detail::Incoming& in);

}  // namespace procession::api

namespace procession::detail {

template <class State>
void Travel<State>::send(Outgoing& out, const std::shared_ptr<State>& state) {
  api::send(out, state);
}

template <class State>
std::shared_ptr<State> Travel<State>::receive(Incoming& in) {
  std::optional<shm::CellName> name = api::receive(in);
  return name ? State::template find<State>(*name) : nullptr;
}

}  // namespace procession::detail
