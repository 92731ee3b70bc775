// SPDX-License-Identifier: Apache-2.0
#include "os/event.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.hpp"

namespace procession::os {

namespace {

constexpr std::uint64_t kRung = ~std::uint64_t{0};  // the key of no descriptor but events

}  // namespace

Fd create_event() { return Fd(PROCESSION_SYSCALL(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))); }

void ring(const Fd& event) noexcept {
  std::uint64_t one = 1;
  while (::write(event.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void answer(const Fd& event) noexcept {
  std::uint64_t count = 0;
  while (::read(event.get(), &count, sizeof count) < 0 && errno == EINTR) {
  }
}

WaitSet::WaitSet() : fd_(PROCESSION_SYSCALL(::epoll_create1(EPOLL_CLOEXEC))) {}

void WaitSet::add(int fd, std::uint64_t key) { add(fd, EPOLLIN, key); }

void WaitSet::add_event(const Fd& event) { add(event.get(), EPOLLIN | EPOLLET, kRung); }

void WaitSet::add(int fd, std::uint32_t events, std::uint64_t key) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  PROCESSION_SYSCALL(::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event));
}

void WaitSet::remove(int fd) noexcept { ::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr); }

base::Waited WaitSet::wait(base::Deadline deadline, std::vector<std::uint64_t>& ready) {
  ready.clear();
  std::array<epoll_event, 64> events;
  while (true) {
    int count = ::epoll_wait(fd_.get(), events.data(), events.size(), deadline.remaining_ms());
    if (count < 0 && errno == EINTR) return base::Waited::kInterrupted;
    if (count < 0) base::throw_os_error(errno, "epoll_wait");
    for (int i = 0; i < count; ++i) {  // copied: it is packed, and to be referred to by nobody
      std::uint64_t key = events[static_cast<std::size_t>(i)].data.u64;
      if (key != kRung) ready.push_back(key);
    }
    if (count > 0) return base::Waited::kReady;
    if (deadline.passed()) return base::Waited::kTimedOut;
  }
}

}  // namespace procession::os
