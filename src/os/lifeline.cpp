// SPDX-License-Identifier: Apache-2.0
#include "os/lifeline.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/error.hpp"

namespace procession::os {

namespace {

// What the handler reads; written before the handler is installed.
struct Lifeline {
  int socket = -1;
  timer_t timer{};
  itimerspec grace{};
} lifeline;

// Not SIGIO, which programs use, nor SIGRTMAX, which valgrind takes.
int lifeline_signal() noexcept { return SIGRTMAX - 2; }

// Data and free space on the socket raise the signal too: only a hang-up counts.
void look() noexcept {
  pollfd entry{lifeline.socket, POLLRDHUP, 0};
  if (::poll(&entry, 1, 0) == 1 && (entry.revents & (POLLHUP | POLLRDHUP))) {
    itimerspec running{};
    ::timer_gettime(lifeline.timer, &running);
    if (running.it_value.tv_sec == 0 && running.it_value.tv_nsec == 0) {
      ::timer_settime(lifeline.timer, 0, &lifeline.grace, nullptr);
    }
  }
}

void on_signal(int, siginfo_t*, void*) {
  int saved = errno;
  look();
  errno = saved;
}

}  // namespace

void arm_lifeline(const Fd& socket, int grace_ms) {
  lifeline.socket = socket.get();
  lifeline.grace.it_value = {grace_ms / 1000, (grace_ms % 1000) * 1'000'000L};
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  PROCESSION_SYSCALL(::timer_create(CLOCK_MONOTONIC, &event, &lifeline.timer));
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  PROCESSION_SYSCALL(::sigaction(lifeline_signal(), &action, nullptr));
  f_owner_ex owner{F_OWNER_PID, ::getpid()};
  PROCESSION_SYSCALL(::fcntl(socket.get(), F_SETOWN_EX, &owner));
  PROCESSION_SYSCALL(::fcntl(socket.get(), F_SETSIG, lifeline_signal()));
  int flags = PROCESSION_SYSCALL(::fcntl(socket.get(), F_GETFL));
  PROCESSION_SYSCALL(::fcntl(socket.get(), F_SETFL, flags | O_ASYNC));
  // A stopped process handles no signal, so it is to go on. Others ignore this one by default, if it comes early, too.
  PROCESSION_SYSCALL(::prctl(PR_SET_PDEATHSIG, SIGCONT));
  look();  // the parent may have gone before
}

void disarm_lifeline(const Fd& socket) {
  int flags = PROCESSION_SYSCALL(::fcntl(socket.get(), F_GETFL));
  PROCESSION_SYSCALL(::fcntl(socket.get(), F_SETFL, flags & ~O_ASYNC));
  ::timer_delete(lifeline.timer);
}

}  // namespace procession::os
