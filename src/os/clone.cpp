// SPDX-License-Identifier: Apache-2.0
#include "os/clone.hpp"

#include <linux/sched.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/futex.h>
#include <cstddef>
#include <cstdint>

#include "base/error.hpp"
#include "os/fd.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"

namespace procession::os {

namespace {

struct RobustList {
  robust_list_head* head = nullptr;
  std::size_t size = 0;
};

RobustList robust_list() noexcept {
  RobustList list;
  ::syscall(SYS_get_robust_list, 0, &list.head, &list.size);
  return list;
}

// glibc keeps the thread's id 16 bytes before its robust list's head (struct pthread, the same from
// 2.3 to 2.43). A clone that glibc knows nothing of must renew it, or robust mutexes would record a
// wrong owner. The layout is checked against gettid, never assumed.
pid_t* cached_tid(const RobustList& list) noexcept {
  if (!list.head) return nullptr;
  auto* word = reinterpret_cast<pid_t*>(reinterpret_cast<std::byte*>(list.head) - 16);
  return *word == ::gettid() ? word : nullptr;
}

void wait_for_exit(pid_t pid) noexcept {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return;  // gone already
  pollfd entry{pidfd.get(), POLLIN, 0};
  while (::poll(&entry, 1, -1) < 0) {
  }
}

}  // namespace

pid_t fork_process() { return PROCESSION_SYSCALL(::fork()); }

bool can_clone_sibling() noexcept { return thread_count() == 1 && cached_tid(robust_list()); }

pid_t clone_sibling() {
  RobustList list = robust_list();
  clone_args args{};
  // exit_signal must be 0: the kernel gives the copy that of this process, SIGCHLD.
  args.flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
  args.child_tid = reinterpret_cast<std::uintptr_t>(cached_tid(list));
  auto pid = static_cast<pid_t>(
      base::checked(::syscall(SYS_clone3, &args, sizeof args), "clone3(CLONE_PARENT)"));
  if (pid == 0) ::syscall(SYS_set_robust_list, list.head, list.size);
  return pid;
}

pid_t fork_orphan() {
  pid_t between = fork_process();
  if (between != 0) {
    int status = 0;
    while (::waitpid(between, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return between;
    throw base::OsError(WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD, "fork()");
  }
  between = ::getpid();
  pid_t copy = ::fork();
  if (copy < 0) ::_exit(errno);
  if (copy > 0) ::_exit(0);
  wait_for_exit(between);
  return 0;
}

bool become_subreaper(bool on) {
  int before = 0;
  PROCESSION_SYSCALL(::prctl(PR_GET_CHILD_SUBREAPER, &before));
  PROCESSION_SYSCALL(::prctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0));
  return before != 0;
}

}  // namespace procession::os
