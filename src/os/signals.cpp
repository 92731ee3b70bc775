// SPDX-License-Identifier: Apache-2.0
#include "os/signals.hpp"

#include <signal.h>
#include <string.h>

namespace procession::os {

namespace {
struct sigaction interrupt_before;
bool interrupt_ignored = false;
}  // namespace

void unblock_all_signals() noexcept {
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

SignalsBlocked::SignalsBlocked() noexcept {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

void ignore_interrupt() noexcept {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGINT, &ignore, &interrupt_before);
  interrupt_ignored = true;
}

void restore_interrupt() noexcept {
  if (interrupt_ignored) ::sigaction(SIGINT, &interrupt_before, nullptr);
  interrupt_ignored = false;
}

bool crashes_are_unhandled() noexcept {
  for (int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) return false;
  }
  return true;
}

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name ? std::string("SIG") + name : std::to_string(signal);
}

}  // namespace procession::os
