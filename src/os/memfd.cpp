// SPDX-License-Identifier: Apache-2.0
#include "os/memfd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>

#include "base/error.hpp"

namespace procession::os {

namespace {

std::uint64_t limit_of(decltype(RLIMIT_AS) resource) noexcept {
  struct rlimit limit {};
  bool limited = ::getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return limited ? limit.rlim_cur : std::numeric_limits<std::uint64_t>::max();
}

}  // namespace

Fd create_memfd(const char* label) {
  return Fd(PROCESSION_SYSCALL(::memfd_create(label, MFD_CLOEXEC)));
}

void append(const Fd& file, base::BytesView bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    bytes = bytes.subspan(static_cast<std::size_t>(base::checked(written, "write(memfd)")));
  }
}

Fd create_sparse_memfd(const char* label, std::uint64_t size) {
  // ftruncate(2) beyond the limit would raise SIGXFSZ.
  if (size > limit_of(RLIMIT_FSIZE)) base::throw_os_error(EFBIG, "ftruncate(memfd, size)");
  Fd file(PROCESSION_SYSCALL(::memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  PROCESSION_SYSCALL(::ftruncate(file.get(), static_cast<off_t>(size)));
  PROCESSION_SYSCALL(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
  return file;
}

std::uint64_t sensible_mapping_limit() noexcept {
  return std::min(limit_of(RLIMIT_FSIZE), limit_of(RLIMIT_AS) / 4);
}

std::uint64_t file_size(const Fd& file) {
  struct stat status {};
  PROCESSION_SYSCALL(::fstat(file.get(), &status));
  return static_cast<std::uint64_t>(status.st_size);
}

void make_pages(const Fd& file, std::uint64_t offset, std::uint64_t size) {
  // In pieces: a signal makes fallocate(2) undo all that it did on tmpfs and fail with EINTR. A
  // large piece would never be finished under a profiler's timer.
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 20;
  for (std::uint64_t end = offset + size; offset < end;) {
    std::uint64_t piece = std::min(kPiece, end - offset);
    int result = ::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                             static_cast<off_t>(piece));
    if (result < 0 && errno == EINTR) continue;
    base::checked(result, "fallocate(memfd)");
    offset += piece;
  }
}

Fd open_again(const Fd& file, std::uint64_t offset) {
  char path[40];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", file.get());
  Fd again(::open(path, O_WRONLY | O_CLOEXEC));
  if (again.valid() && ::lseek(again.get(), static_cast<off_t>(offset), SEEK_SET) < 0) return Fd();
  return again.valid() && again.get() < 3 ? duplicate(again.get()) : std::move(again);
}

void drop_pages(const Fd& file, std::uint64_t offset, std::uint64_t size) {
  constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  while (::fallocate(file.get(), kMode, static_cast<off_t>(offset), static_cast<off_t>(size)) < 0) {
    if (errno != EINTR) base::throw_os_error(errno, "fallocate(memfd, FALLOC_FL_PUNCH_HOLE)");
  }
}

SharedMapping::SharedMapping(const Fd& file) {
  std::uint64_t size = file_size(file);
  if (size == 0) return;
  void* start =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.get(), 0);
  if (start == MAP_FAILED) base::throw_os_error(errno, "mmap(memfd, MAP_SHARED)");
  // A dump would look for each page of a sparse terabyte.
  ::madvise(start, size, MADV_DONTDUMP);
  bytes_ = {static_cast<std::byte*>(start), size};
}

SharedMapping::~SharedMapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Mapping::Mapping(const Fd& file) {
  std::size_t size = file_size(file);
  if (size == 0) return;
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (start == MAP_FAILED) base::throw_os_error(errno, "mmap(memfd)");
  bytes_ = {static_cast<const std::byte*>(start), size};
}

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace procession::os
