// SPDX-License-Identifier: Apache-2.0
// detail/bytes: bytes, descriptors and functions on their way from one process to another.
//
// The compiled half's hold on a message that is being written (Outgoing) or read (Incoming). Not
// thread-safe. A function travels as its module and its place in it, and is found again in the
// other process, where the module may lie elsewhere or have to be loaded first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "procession/detail/export.hpp"

namespace procession::detail {

using AnyFunction = void (*)();

class PROCESSION_EXPORT Outgoing {
 public:
  struct State;

  Outgoing();
  ~Outgoing();
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;

  void write(const void* data, std::size_t size);

  // The descriptor is borrowed until the message is sent; the receiver gets a copy.
  void descriptor(int fd);

  // std::invalid_argument if it lies in no module, as code made at run time does. Null is kept.
  void function(AnyFunction address);

  State& state() noexcept { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

class PROCESSION_EXPORT Incoming {
 public:
  struct State;

  explicit Incoming(std::unique_ptr<State> state);
  ~Incoming();
  Incoming(const Incoming&) = delete;
  Incoming& operator=(const Incoming&) = delete;

  // std::runtime_error if there is less than `size`.
  void read(void* data, std::size_t size);

  // std::runtime_error unless so many values, each a byte or more, may be left. Of values that are
  // none, a type without content's, a few are believed.
  void expect(std::uint64_t count);

  // The receiver's copy, which the caller owns from now on.
  int descriptor();

  // std::runtime_error if the function's module isn't here, or another version of it.
  AnyFunction function();

  State& state() noexcept { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

}  // namespace procession::detail
