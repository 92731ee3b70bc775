// SPDX-License-Identifier: Apache-2.0
#include "os/file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.hpp"

namespace procession::os {

Fd create_file(const std::string& path) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) base::throw_os_error(errno, "open(\"" + path + "\")");
  return Fd(fd);
}

void write_all(const Fd& file, base::BytesView bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    bytes = bytes.subspan(static_cast<std::size_t>(base::checked(written, "write(file)")));
  }
}

std::uint64_t written_size(const Fd& file) noexcept {
  off_t position = ::lseek(file.get(), 0, SEEK_CUR);
  return position > 0 ? static_cast<std::uint64_t>(position) : 0;
}

void cut_file(const Fd& file, std::uint64_t size) noexcept {
  if (::ftruncate(file.get(), static_cast<off_t>(size)) == 0) {
    ::lseek(file.get(), static_cast<off_t>(size), SEEK_SET);
  }
}

}  // namespace procession::os
