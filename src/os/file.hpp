// SPDX-License-Identifier: Apache-2.0
// os/file: a file with a name, that this process writes from its beginning to its end.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.hpp"
#include "os/fd.hpp"

namespace procession::os {

// A new or emptied file, to be written.
Fd create_file(const std::string& path);

// Writes all of `bytes` at the file's position. OsError if the disk is full.
void write_all(const Fd& file, base::BytesView bytes);

// How much was written to the file, also where write_all() failed midway; 0 for what isn't a regular file.
std::uint64_t written_size(const Fd& file) noexcept;

// Cuts what comes after `size` off and writes on from there, if the file can do that.
void cut_file(const Fd& file, std::uint64_t size) noexcept;

}  // namespace procession::os
