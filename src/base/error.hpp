// SPDX-License-Identifier: Apache-2.0
// base/error: the error of a refused system call, with the call's own text.
//
// "The OS said no" is the only kind of failure that the engine throws. A caller's mistake is checked
// at the public doors; a normal outcome (closed, timed out, interrupted) is a return value; a failure
// in a child is data in a message. Thread-safe: values only.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

namespace procession::base {

// A system call failed. what() is "<what was attempted>: <strerror>"; code() is errno in the
// generic category, so that a front door can choose its own type by number (EMFILE, EAGAIN, ...).
class OsError : public std::system_error {
 public:
  OsError(int error_number, const std::string& attempted)
      : std::system_error(error_number, std::generic_category(), attempted) {}

  int error_number() const noexcept { return code().value(); }

  // what() without the system's own words for the error number.
  std::string attempted() const;
};

[[noreturn]] void throw_os_error(int error_number, std::string_view call);

// Returns `result`, or throws OsError with errno and the call's text if it is negative.
template <class Result>
Result checked(Result result, std::string_view call) {
  if (result < 0) throw_os_error(errno, call);
  return result;
}

}  // namespace procession::base

// Evaluates a system call; throws base::OsError with the call's own text if it returns a negative
// value. `PROCESSION_SYSCALL(::dup2(a, b))` fails as "dup2(a, b): Bad file descriptor".
#define PROCESSION_SYSCALL(call) ::procession::base::checked((call), #call)
