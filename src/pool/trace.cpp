// SPDX-License-Identifier: Apache-2.0
#include "pool/trace.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <utility>

#include "base/error.hpp"
#include "os/file.hpp"
#include "os/process.hpp"
#include "os/signals.hpp"

namespace procession::pool {

namespace {

constexpr std::size_t kFull = std::size_t{256} << 10;
constexpr std::size_t kTooFull = std::size_t{4} << 20;
constexpr std::int64_t kCountEveryNs = 1'000'000;
// Arrows from submits to tasks double a file's size; beyond so many nobody looks at each.
constexpr std::uint64_t kMostFlows = 100'000;
// As long as a submit takes at the least, so that two never overlap.
constexpr std::int64_t kSubmitNs = 100;

base::BytesView view(std::string_view text) { return std::as_bytes(std::span(text)); }

void escape(std::string_view text, std::string& out) {
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out += c;
    }
  }
}

std::string ended_how(std::int64_t status) {
  if (status >= 0) return "exited with code " + std::to_string(status);
  return "killed by " + os::signal_name(static_cast<int>(-status));
}

constexpr std::string_view kEnd = "\n]\n";

// Where, in the first `written` bytes of text, an object ends so that there is room for kEnd after it.
std::size_t whole_objects(std::string_view text, std::size_t written) {
  if (written < kEnd.size()) return 0;
  auto next = text.rfind(",\n", written - kEnd.size());
  return next == text.npos ? 0 : next;
}

}  // namespace

TraceFile::TraceFile(const std::string& path, NameOf name_of)
    : path_(path),
      name_of_(std::move(name_of)),
      pid_(os::current_pid()),
      file_(os::create_file(path)) {
  pending_ = "[\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":" + std::to_string(pid_) +
             ",\"tid\":" + std::to_string(pid_) + ",\"args\":{\"name\":\"pool of process " +
             std::to_string(pid_) + "\"}}";
  metadata("thread_name", pid_, "\"queue\"");
  metadata("thread_sort_index", pid_, "-1");
}

// --- the pieces of an object

void TraceFile::number(std::int64_t value) {
  char digits[24];
  auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  pending_.append(digits, end);
}

void TraceFile::microseconds(std::int64_t ns) {
  number(ns / 1000);
  auto rest = ns % 1000;
  char digits[] = {'.', static_cast<char>('0' + rest / 100),
                   static_cast<char>('0' + rest / 10 % 10), static_cast<char>('0' + rest % 10)};
  if (rest) pending_.append(digits, sizeof digits);
}

void TraceFile::begin(std::string_view phase, std::string_view category, int track,
                      std::int64_t time) {
  put(",\n{\"ph\":\"");
  put(phase);
  if (!category.empty()) {
    put("\",\"cat\":\"");
    put(category);
  }
  put("\",\"pid\":");
  number(pid_);
  put(",\"tid\":");
  number(track);
  put(",\"ts\":");
  microseconds(time);
}

void TraceFile::name(std::string_view name, std::string_view prefix) {
  put(",\"name\":\"");
  put(prefix);
  escape(name, pending_);
  put("\"");
}

void TraceFile::duration(std::int64_t ns) {
  put(",\"dur\":");
  microseconds(std::max<std::int64_t>(ns, 0));
}

void TraceFile::metadata(std::string_view what, int track, std::string_view value) {
  put(",\n{\"ph\":\"M\",\"pid\":");
  number(pid_);
  put(",\"tid\":");
  number(track);
  name(what);
  put(what == "thread_name" ? ",\"args\":{\"name\":" : ",\"args\":{\"sort_index\":");
  put(value);
  put("}}");
}

// --- events

void TraceFile::add(const Event& event) {
  if (has_failed_.load(std::memory_order_relaxed) || os::current_pid() != pid_) return;
  bool too_full = false;
  {
    std::lock_guard lock(mutex_);
    if (event.kind >= EventKind::kWorkerStarted) {
      add_worker(event);
    } else {
      add_task(event);
      count(event);
    }
    is_full_.store(pending_.size() > kFull, std::memory_order_relaxed);
    too_full = pending_.size() > kTooFull;
  }
  if (too_full) write_out();
}

void TraceFile::add_task(const Event& event) {
  switch (event.kind) {
    case EventKind::kDone:
    case EventKind::kFailed:
      slice(event, "task", event.time - event.amount, event.time,
            event.kind == EventKind::kDone ? "" : "raised");
      flow(event, event.time - event.amount);
      break;
    case EventKind::kDied:
    case EventKind::kTimedOut:
      slice(event, "task", event.started, event.time,
            event.kind == EventKind::kDied ? "died" : "timed out");
      flow(event, event.started);
      break;
    case EventKind::kBroken:
    case EventKind::kCancelled:
      if (event.started) {
        slice(event, "task", event.started, event.time,
              event.kind == EventKind::kBroken ? "ended with the pool" : "cancelled");
      } else {
        instant(event, "end", pid_);
      }
      break;
    case EventKind::kQueued:  // again, after a try
      if (event.started) slice(event, "try", event.started, event.time, "given to another worker");
      break;
    default:
      break;
  }
}

void TraceFile::slice(const Event& event, std::string_view category, std::int64_t from,
                      std::int64_t to, std::string_view outcome) {
  begin("X", category, event.worker, from);
  duration(to - from);
  name(name_of_(event.function));
  put(",\"args\":{\"task\":");
  number(static_cast<std::int64_t>(event.task));
  put(",\"queued\":");
  microseconds(event.queued);
  put(",\"waited_us\":");
  microseconds(std::max<std::int64_t>(from - event.queued, 0));
  if (!outcome.empty()) {
    put(",\"outcome\":\"");
    put(outcome);
    put("\"");
  }
  put("}}");
}

void TraceFile::flow(const Event& event, std::int64_t time) {
  if (++flows_ > kMostFlows || event.queued == 0) return;
  std::string_view function = name_of_(event.function);
  begin("X", "submit", pid_, event.queued);
  duration(kSubmitNs);
  name(function, "submit ");
  put(",\"args\":{\"task\":");
  number(static_cast<std::int64_t>(event.task));
  put("}}");
  begin("s", "wait", pid_, event.queued);
  put(",\"name\":\"wait\",\"id\":");
  number(static_cast<std::int64_t>(event.task));
  put("}");
  begin("f", "wait", event.worker, time);
  put(",\"bp\":\"e\",\"name\":\"wait\",\"id\":");
  number(static_cast<std::int64_t>(event.task));
  put("}");
}

void TraceFile::instant(const Event& event, std::string_view category, int track) {
  begin("i", category, track, event.time);
  name(name_of_(event.function),
       event.kind == EventKind::kCancelled ? "cancelled: " : "ended with the pool: ");
  put(",\"s\":\"t\",\"args\":{\"task\":");
  number(static_cast<std::int64_t>(event.task));
  put("}}");
}

void TraceFile::add_worker(const Event& event) {
  switch (event.kind) {
    case EventKind::kWorkerStarted:
      metadata("thread_name", event.worker, "\"worker " + std::to_string(event.worker) + "\"");
      metadata("thread_sort_index", event.worker, std::to_string(event.place));
      break;
    case EventKind::kWorkerReady:
      begin("X", "worker", event.worker, event.started);
      duration(event.time - event.started);
      put(",\"name\":\"starting\"}");
      break;
    case EventKind::kWorkerEnded:
      begin("i", event.amount ? "death" : "worker", event.worker, event.time);
      name(event.amount ? ended_how(event.amount) : "ended");
      put(",\"s\":\"t\"}");
      break;
    default:
      break;
  }
}

void TraceFile::count(const Event& event) {
  if (uncounted_ && event.time - uncounted_ >= kCountEveryNs) write_counts(uncounted_);
  switch (event.kind) {
    case EventKind::kQueued:
      ++queued_;
      if (event.started) --running_;
      break;
    case EventKind::kStarted:
      --queued_;
      ++running_;
      break;
    default:
      --(event.started ? running_ : queued_);
      break;
  }
  uncounted_ = event.time;
  if (event.time - counted_ >= kCountEveryNs) write_counts(event.time);
}

void TraceFile::write_counts(std::int64_t time) {
  counted_ = time;
  uncounted_ = 0;
  begin("C", {}, pid_, time);
  put(",\"name\":\"tasks\",\"args\":{\"running\":");
  number(running_);
  put(",\"queued\":");
  number(queued_);
  put("}}");
}

// --- the file

void TraceFile::write_out() {
  std::lock_guard writing(write_mutex_);
  if (!file_.valid() || os::current_pid() != pid_) return;
  std::string text;
  {
    std::lock_guard lock(mutex_);
    text.swap(pending_);
    is_full_.store(false, std::memory_order_relaxed);
  }
  try {
    os::write_all(file_, view(text));
    size_ += text.size();
  } catch (const std::exception& error) {
    size_ += whole_objects(text, std::max(os::written_size(file_), size_) - size_);
    fail(error);
  }
}

void TraceFile::close() {
  if (os::current_pid() != pid_) return;
  {
    std::lock_guard lock(mutex_);
    if (uncounted_) write_counts(uncounted_);
    put(kEnd);
  }
  write_out();
  std::lock_guard writing(write_mutex_);
  file_.reset();
  has_failed_ = true;  // what comes now comes too late
}

// The last object that was written goes with what was cut in two, which makes room for the end.
void TraceFile::fail(const std::exception& error) noexcept {
  has_failed_ = true;
  error_ = "procession: the trace file " + path_ + " could not be written (" + error.what() +
           "); it ends where that began, the pool goes on";
  os::cut_file(file_, size_);
  try {
    os::write_all(file_, view(size_ ? kEnd : "[]\n"));
  } catch (const std::exception&) {  // it can be opened without it
  }
  file_.reset();
}

std::string TraceFile::take_error() {
  std::lock_guard writing(write_mutex_);
  return std::exchange(error_, {});
}

}  // namespace procession::pool
