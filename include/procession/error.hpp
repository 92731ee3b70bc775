// SPDX-License-Identifier: Apache-2.0
// procession/error: what procession throws, and how exceptions of a child come to its parent.
//
// The caller's mistakes are std::invalid_argument and std::logic_error, the operating system's
// refusals OsError. What a child's target threw is given by Process::exception(): the standard
// library's types and registered ones as themselves, others as RemoteError. Thread-safe.
#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>

#include "procession/detail/archive.hpp"
#include "procession/detail/export.hpp"

namespace procession {

// Their destructors stand in the library, so that each type has one identity in every module.
// NOLINTBEGIN(cppcoreguidelines-special-member-functions)

// The operating system refused. what() names the process and its start method; code() is errno in
// the generic category.
class PROCESSION_EXPORT OsError : public std::system_error {
 public:
  OsError(int error_number, const std::string& attempted);
  ~OsError() override;
};

// The other end of a connection is closed and everything that it sent has been received.
class PROCESSION_EXPORT EOFError : public std::runtime_error {
 public:
  EOFError();
  ~EOFError() override;
};

// An exception of a child whose type can't be rebuilt here. what() is the original's.
class PROCESSION_EXPORT RemoteError : public std::runtime_error {
 public:
  RemoteError(std::string type_name, const std::string& message);
  ~RemoteError() override;

  // The original's type, e.g. "shop::PaymentError".
  const std::string& type_name() const noexcept { return type_name_; }

 private:
  std::string type_name_;
};

// The worker process that ran a task ended before the task did.
class PROCESSION_EXPORT WorkerDied : public std::runtime_error {
 public:
  WorkerDied(const std::string& message, int pid, int exitcode, std::string function);
  ~WorkerDied() override;

  int pid() const noexcept { return pid_; }
  int exitcode() const noexcept { return exitcode_; }  // minus the signal's number if one ended it
  // The function that it ran, as far as the program has its name; or empty.
  const std::string& function() const noexcept { return function_; }

 private:
  int pid_;
  int exitcode_;
  std::string function_;
};

// The pool can't be used any more: a worker ended, or its initializer failed, or no worker can be
// started. `cause` is the initializer's exception, a WorkerDied, or what the start threw.
class PROCESSION_EXPORT BrokenProcessPool : public std::runtime_error {
 public:
  explicit BrokenProcessPool(const std::string& message, std::exception_ptr cause = nullptr);
  ~BrokenProcessPool() override;

  const std::exception_ptr& cause() const noexcept { return cause_; }

 private:
  std::exception_ptr cause_;
};

// The task was cancelled.
class PROCESSION_EXPORT CancelledError : public std::runtime_error {
 public:
  CancelledError();
  explicit CancelledError(const std::string& message);
  ~CancelledError() override;
};

// A wait with a timeout ended before what it waited for.
class PROCESSION_EXPORT TimeoutError : public std::runtime_error {
 public:
  explicit TimeoutError(const std::string& message);
  ~TimeoutError() override;
};

// A barrier is broken: a process that waited at it has ended, a wait took too long, or it was aborted
// or reset.
class PROCESSION_EXPORT BrokenBarrierError : public std::runtime_error {
 public:
  explicit BrokenBarrierError(const std::string& message);
  ~BrokenBarrierError() override;
};
// NOLINTEND(cppcoreguidelines-special-member-functions)

namespace detail {

// How exceptions of one type travel. `encode` returns false if the exception isn't of that type.
struct ExceptionCodec {
  std::function<bool(const std::exception_ptr&, Encoder&)> encode;
  std::function<std::exception_ptr(Decoder&)> decode;
};
PROCESSION_EXPORT bool register_exception(const std::type_info& type, ExceptionCodec codec);

template <class Error>
constexpr bool kRebuiltFromWhat =
    std::derived_from<Error, std::exception>&& std::constructible_from<Error, std::string>;

template <class Error>
void encode_exception(const Error& error, Encoder& encoder) {
  if constexpr (travels<Error>()) {
    encode(encoder, error);
  } else {
    encode(encoder, std::string(error.what()));
  }
}

template <class Error>
std::exception_ptr decode_exception(Decoder& decoder) {
  if constexpr (travels<Error>()) {
    return std::make_exception_ptr(decode<Error>(decoder));
  } else {
    return std::make_exception_ptr(Error(decode<std::string>(decoder)));
  }
}

}  // namespace detail

// Has exceptions of exactly this type keep their type on the way from a child to its parent. It is
// sent as any argument is or, if that can't be, rebuilt from its what(). For namespace scope, so
// that parent and child both do it:
//   const bool registered = procession::register_exception<PaymentError>();
template <class Error>
bool register_exception() {
  static_assert(
      detail::travels<Error>() || detail::kRebuiltFromWhat<Error>,
      "procession: an exception type needs cereal's serialize(), or to be a std::exception "
      "with a constructor that takes its message");
  return detail::register_exception(
      typeid(Error),
      {[](const std::exception_ptr& thrown, detail::Encoder& encoder) {
         try {
           std::rethrow_exception(thrown);
         } catch (const Error& error) {
           detail::encode_exception(error, encoder);
           return true;
         } catch (...) {
           return false;
         }
       },
       [](detail::Decoder& decoder) { return detail::decode_exception<Error>(decoder); }});
}

}  // namespace procession
