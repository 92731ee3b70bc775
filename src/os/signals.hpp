// SPDX-License-Identifier: Apache-2.0
// os/signals: which signals reach the calling process.
#pragma once

#include <signal.h>

#include <string>

namespace procession::os {

// Unblocks every signal in the calling thread.
void unblock_all_signals() noexcept;

// Blocks every signal in the calling thread while it lives.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept;
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// Ctrl-C reaches a whole terminal group: a zygote ignores it, and its children take it back.
void ignore_interrupt() noexcept;
void restore_interrupt() noexcept;  // to what it was; nothing if it isn't ignored

// Whether nobody handles or ignores the signals of a crash: SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL.
bool crashes_are_unhandled() noexcept;

// "SIGTERM" for 15; the number itself for one without a name.
std::string signal_name(int signal);

}  // namespace procession::os
