// SPDX-License-Identifier: Apache-2.0
#include "os/process.hpp"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"

namespace procession::os {

pid_t current_pid() noexcept { return ::getpid(); }
bool has_children() noexcept {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

bool is_main_thread() noexcept { return ::gettid() == ::getpid(); }

pid_t parent_pid() noexcept { return ::getppid(); }
void exit_now(int code) noexcept { ::_exit(code); }

void at_exit(void (*handler)(int code)) {
  auto call = [](int code, void* data) { reinterpret_cast<void (*)(int)>(data)(code); };
  if (::on_exit(call, reinterpret_cast<void*>(handler)) != 0) {
    base::throw_os_error(ENOMEM, "on_exit");
  }
}

const char* program_name() noexcept { return program_invocation_name; }

void set_process_name(const char* name) noexcept { ::prctl(PR_SET_NAME, name); }

void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) {
  int error_number = ::pthread_atfork(before, in_parent, in_child);
  if (error_number != 0) base::throw_os_error(error_number, "pthread_atfork");
}

}  // namespace procession::os
