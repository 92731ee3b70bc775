// SPDX-License-Identifier: Apache-2.0
// os/memfd: anonymous memory with a descriptor, for what is too large for a socket's buffer.
//
// Nameless: it is gone when the last descriptor and mapping are. See memfd_create(2).
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.hpp"
#include "os/fd.hpp"

namespace procession::os {

Fd create_memfd(const char* label);

// Appends all of `bytes`. A full memory is an OsError (ENOSPC, ENOMEM).
void append(const Fd& file, base::BytesView bytes);

// A memfd of `size` bytes without pages, which nobody who gets it can shrink or grow: touching it
// is no SIGBUS as long as there is memory. More than RLIMIT_FSIZE is an OsError (EFBIG).
Fd create_sparse_memfd(const char* label, std::uint64_t size);

// The most bytes that this process may map in one piece and still have room for others: the smaller
// of RLIMIT_FSIZE and a quarter of RLIMIT_AS.
std::uint64_t sensible_mapping_limit() noexcept;

std::uint64_t file_size(const Fd& file);

// Makes the pages of a part of a memfd exist, so that writing to them can't fail. Those that were
// there keep their content, new ones are zero. Full memory is an OsError (ENOSPC, ENOMEM) and leaves
// some of them made. Cheap only where there is something to do: 0.1 us for each page that exists.
void make_pages(const Fd& file, std::uint64_t offset, std::uint64_t size);

// Another description of the same memfd, whose write(2) begins at `offset`, numbered 3 or higher.
// Invalid without /proc.
Fd open_again(const Fd& file, std::uint64_t offset);

// Gives the pages of a part of a memfd back to the system, in every process that maps them. They
// read as zero from then on.
void drop_pages(const Fd& file, std::uint64_t offset, std::uint64_t size);

// A shared, writable mapping of a whole file, left out of core dumps. Move-only; unmapped on
// destruction. Inherited through fork.
class SharedMapping {
 public:
  SharedMapping() = default;
  explicit SharedMapping(const Fd& file);
  SharedMapping(SharedMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  SharedMapping& operator=(SharedMapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;
  ~SharedMapping();

  std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// A private, read-only mapping of a whole file. Move-only; unmapped on destruction.
class Mapping {
 public:
  Mapping() = default;
  explicit Mapping(const Fd& file);
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  base::BytesView bytes() const noexcept { return bytes_; }

 private:
  base::BytesView bytes_;
};

}  // namespace procession::os
