// SPDX-License-Identifier: Apache-2.0
#include "os/pidfd.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"

namespace procession::os {

namespace {
constexpr idtype_t kPidfd = static_cast<idtype_t>(3);

// The system call itself has a fifth argument, which libc's waitid hasn't: see wait4(2) on `usage`.
std::optional<ExitStatus> status_of(const Fd& pidfd, int flags, rusage* usage = nullptr) {
  siginfo_t info{};
  while (::syscall(SYS_waitid, kPidfd, pidfd.get(), &info, WEXITED | WNOHANG | flags, usage) < 0) {
    if (errno == ECHILD) return kStatusLost;
    if (errno != EINTR) base::throw_os_error(errno, "waitid(P_PIDFD)");
  }
  if (info.si_pid == 0) return std::nullopt;
  if (info.si_code == CLD_EXITED) return ExitStatus{info.si_status, 0};
  return ExitStatus{0, info.si_status};
}

}  // namespace

const int kTerminate = SIGTERM;
const int kKill = SIGKILL;

Fd open_pidfd(pid_t pid) {
  return Fd(static_cast<int>(base::checked(::syscall(SYS_pidfd_open, pid, 0), "pidfd_open")));
}

std::optional<ExitStatus> try_reap(const Fd& pidfd) { return status_of(pidfd, 0); }

std::optional<ExitStatus> peek_status(const Fd& pidfd) { return status_of(pidfd, WNOWAIT); }

std::optional<Exit> peek_exit(const Fd& pidfd) {
  rusage used{};
  std::optional<ExitStatus> status = status_of(pidfd, WNOWAIT, &used);
  if (!status) return std::nullopt;
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return Exit{*status,
              {seconds(used.ru_utime), seconds(used.ru_stime), used.ru_maxrss, used.ru_minflt,
               used.ru_majflt, used.ru_inblock, used.ru_oublock, used.ru_nvcsw, used.ru_nivcsw}};
}

void end_child(pid_t pid) noexcept {
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool send_signal(const Fd& pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  base::throw_os_error(errno, "pidfd_send_signal");
}

bool try_signal(const Fd& pidfd, int signal) noexcept {
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0;
}

}  // namespace procession::os
