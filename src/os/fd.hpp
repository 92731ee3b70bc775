// SPDX-License-Identifier: Apache-2.0
// os/fd: an owned file descriptor.
//
// Move-only; an empty or moved-from one holds -1. Not thread-safe. After fork both processes own
// their copy. Every descriptor that procession makes is close-on-exec.
#pragma once

#include <utility>

namespace procession::os {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const noexcept { return fd_; }
  bool valid() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;  // closes what it held; errors of close(2) are ignored

 private:
  int fd_ = -1;
};

// A close-on-exec duplicate, numbered 3 or higher.
Fd duplicate(int fd);

// A close-on-exec descriptor of /dev/null, open for reading and writing.
Fd open_null();

// Whether `fd` is open in this process.
bool is_open(int fd) noexcept;

// Makes `to` refer to what `from` does (dup2), inheritable through exec.
void replace_fd(int from, int to);

}  // namespace procession::os
