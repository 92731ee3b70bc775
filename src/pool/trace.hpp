// SPDX-License-Identifier: Apache-2.0
// pool/trace: a pool's events as a file in Chrome's trace-event format, which ui.perfetto.dev and
// chrome://tracing open: https://perfetto.dev/docs/reference/chrome-trace-format
//
// One array of objects, written as they come, so that a file of any length takes no memory, and
// that one without an end (its writer was killed) can be opened, too. The tracks are threads of one
// process: the queue, whose number is the parent's pid, and a worker each, by its pid.
//
// Thread-safe. In a forked copy of the process it does nothing.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "os/fd.hpp"
#include "pool/events.hpp"

namespace procession::pool {

class TraceFile {
 public:
  using NameOf = std::function<std::string_view(FunctionId)>;

  // OsError if there can be no such file. `name_of` is asked within `add`.
  TraceFile(const std::string& path, NameOf name_of);
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;
  ~TraceFile() { close(); }

  // Takes an event down; writes only if nobody has for long.
  void add(const Event& event);

  // Whether it is time for somebody to `write_out`.
  bool is_full() const noexcept { return is_full_.load(std::memory_order_relaxed); }
  void write_out();
  void close();

  // Once, if the disk is full or the like: what there is to be said about it. The file is whole up
  // to there, and nothing more is taken down.
  std::string take_error();

 private:
  void add_task(const Event& event);
  void add_worker(const Event& event);
  void count(const Event& event);
  void write_counts(std::int64_t time);
  void begin(std::string_view phase, std::string_view category, int track, std::int64_t time);
  void name(std::string_view name, std::string_view prefix = {});
  void duration(std::int64_t ns);
  void slice(const Event& event, std::string_view category, std::int64_t from, std::int64_t to,
             std::string_view outcome);
  void instant(const Event& event, std::string_view category, int track);
  void flow(const Event& event, std::int64_t begin);
  void number(std::int64_t value);
  void microseconds(std::int64_t ns);
  void put(std::string_view text) { pending_.append(text); }
  void metadata(std::string_view what, int track, std::string_view value);
  void fail(const std::exception& error) noexcept;

  const std::string path_;
  const NameOf name_of_;
  const int pid_;
  std::mutex mutex_;  // alone, or after write_mutex_
  std::string pending_;
  std::int64_t queued_ = 0;
  std::int64_t running_ = 0;
  std::int64_t counted_ = 0;    // when they were last written
  std::int64_t uncounted_ = 0;  // when they have changed since, or 0
  std::uint64_t flows_ = 0;
  std::atomic<bool> is_full_ = false;
  std::atomic<bool> has_failed_ = false;

  std::mutex write_mutex_;
  os::Fd file_;
  std::uint64_t size_ = 0;  // of the file, in bytes
  std::string error_;
};

}  // namespace procession::pool
