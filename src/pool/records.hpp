// SPDX-License-Identifier: Apache-2.0
// pool/records: what crosses the rings between a pool's parent and its workers. Flat, and read with care:
// the other end may be broken.
//
//   short header (16 bytes)   more of it, if it isn't all as usual   shm::Block × blocks   payload
//   payload                   a call that is as the one before it: kNextOfRun
//
// Each cache line of a record goes from one CPU to another, which is most of what a short call costs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "base/bytes.hpp"
#include "shm/arena.hpp"
#include "shm/ring.hpp"

namespace procession::pool {

using TaskId = std::uint64_t;
using FunctionId = std::uint32_t;

inline constexpr TaskId kNoTask = ~TaskId{0};
inline constexpr TaskId kAnyTask = kNoTask - 1;
// The id of a call of a run (pool/assigned) is its number, in the order of submits, with this.
inline constexpr TaskId kOfRun = TaskId{1} << 63;

// Payloads above this many bytes go through the arena. Rings are large enough for any below.
inline constexpr std::size_t kLargestInline = 64 << 10;

// To look at the clock twice costs as much as a call below this: after such a one, others of its function
// may be taken to be no longer.
inline constexpr std::int64_t kShortNs = 500;

enum class CallKind : std::uint8_t {
  kFunction,  // its bytes, ahead of the first call that names it
  kCall,
  kStop,  // end after what came before
};

struct CallHeader {
  TaskId task = kNoTask;
  CallKind kind = CallKind::kCall;
  FunctionId function = 0;
  std::uint16_t form = 0;     // the front door's: how the payload is to be read
  std::uint32_t blocks = 0;   // shm::Blocks of the arena that follow, ahead of the payload
  std::uint32_t spilled = 0;  // the payload is in the first of them
};

enum class ResultKind : std::uint8_t {
  kReady,      // the worker waits for calls
  kResult,     // what the function returned
  kFailure,    // what it raised
  kCantBegin,  // what the worker's initializer raised; it ends
  kMessage,    // what the front door there tells the one here, within a task or not
};

struct ResultHeader {
  TaskId task = kNoTask;
  ResultKind kind = ResultKind::kResult;
  std::uint16_t form = 0;
  std::uint32_t blocks = 0;  // that follow, as of a call
  std::uint32_t spilled = 0;
  std::uint32_t retires = 0;  // the worker has grown too large: it is to be replaced
  // When it began the call, or was ready: ns of CLOCK_MONOTONIC; 0: not told, since nobody asked.
  std::int64_t began = 0;
  std::int64_t nanoseconds = 0;  // that the call took; 0: about as long as others of its function
  std::uint64_t kept = 0;  // of the call's blocks, bit by bit: those that the worker holds on to
};

// --- as they lie in a ring

namespace wire {

struct Short {
  TaskId task;
  std::uint32_t word;  // of a call its function, of a result its nanoseconds
  std::uint16_t form;
  std::uint8_t kind;
  std::uint8_t has_more;
};
struct MoreOfCall {
  std::uint32_t blocks;
  std::uint32_t spilled;
};
struct MoreOfResult {
  std::int64_t began;
  std::int64_t nanoseconds;
  std::uint64_t kept;
  std::uint32_t blocks;
  std::uint32_t spilled;
  std::uint32_t retires;
  std::uint32_t unused;
};
static_assert(sizeof(Short) == 16 && sizeof(MoreOfCall) == 8 && sizeof(MoreOfResult) == 40);

template <class More>
bool write(shm::RingWriter& to, const Short& head, const More& more, base::BytesView table,
           base::BytesView payload) noexcept {
  auto rest = std::as_bytes(std::span(&more, head.has_more ? 1 : 0));
  return to.try_write({std::as_bytes(std::span(&head, 1)), rest, table, payload});
}

// The plain struct that `record` begins with, which is cut off; std::runtime_error if it is torn.
template <class Part>
Part cut(base::BytesView& record) {
  static_assert(std::is_trivially_copyable_v<Part>);
  Part part;
  if (record.size() < sizeof part) throw std::runtime_error("procession: a torn record");
  std::memcpy(&part, record.data(), sizeof part);
  record = record.subspan(sizeof part);
  return part;
}

}  // namespace wire

// False if there's no room now.
inline bool write_record(shm::RingWriter& to, const CallHeader& header,
                         std::span<const shm::Block> blocks, base::BytesView payload) noexcept {
  bool has_more = !blocks.empty() || header.spilled;
  wire::Short head{header.task, header.function, header.form,
                   static_cast<std::uint8_t>(header.kind), has_more};
  wire::MoreOfCall more{static_cast<std::uint32_t>(blocks.size()), header.spilled};
  return wire::write(to, head, more, std::as_bytes(blocks), payload);
}

inline bool write_record(shm::RingWriter& to, const ResultHeader& header,
                         std::span<const shm::Block> blocks, base::BytesView payload) noexcept {
  bool has_more = !blocks.empty() || header.spilled || header.retires || header.began ||
                  header.kept || header.nanoseconds > std::numeric_limits<std::uint32_t>::max();
  wire::Short head{header.task, static_cast<std::uint32_t>(header.nanoseconds), header.form,
                   static_cast<std::uint8_t>(header.kind), has_more};
  wire::MoreOfResult more{header.began,
                          header.nanoseconds,
                          header.kept,
                          static_cast<std::uint32_t>(blocks.size()),
                          header.spilled,
                          header.retires,
                          0};
  return wire::write(to, head, more, std::as_bytes(blocks), payload);
}

// The same of what is as usual.
inline bool write_plain(shm::RingWriter& to, const wire::Short& head,
                        base::BytesView payload) noexcept {
  std::byte* at = to.try_begin(sizeof head + payload.size());
  if (!at) return false;
  std::memcpy(at, &head, sizeof head);
  base::copy(at + sizeof head, payload);
  to.publish();
  return true;
}
inline bool write_plain_call(shm::RingWriter& to, TaskId task, FunctionId function,
                             std::uint16_t form, base::BytesView payload) noexcept {
  constexpr auto kKind = static_cast<std::uint8_t>(CallKind::kCall);
  return write_plain(to, {task, function, form, kKind, 0}, payload);
}
// A record so marked is only a payload: of a call that is as the one before it, of the next task.
inline constexpr std::uint32_t kNextOfRun = 1;
[[gnu::always_inline]] inline bool write_next_call(shm::RingWriter& to,
                                                   base::BytesView payload) noexcept {
  std::byte* at = to.try_begin(payload.size(), kNextOfRun);
  if (!at) return false;
  base::copy(at, payload);
  to.publish();
  return true;
}
inline bool write_plain_result(shm::RingWriter& to, TaskId task, std::uint32_t nanoseconds,
                               std::uint16_t form, base::BytesView payload) noexcept {
  constexpr auto kKind = static_cast<std::uint8_t>(ResultKind::kResult);
  return write_plain(to, {task, nanoseconds, form, kKind, 0}, payload);
}

// What `read_record` leaves: `blocks` is to be copied, `payload` lies in the ring.
struct RecordRest {
  base::BytesView blocks;
  base::BytesView payload;

  std::vector<shm::Block> copied_blocks() const {
    std::vector<shm::Block> copied(blocks.size() / sizeof(shm::Block));
    if (!copied.empty()) std::memcpy(copied.data(), blocks.data(), blocks.size());
    return copied;
  }
};

inline RecordRest rest_of(base::BytesView record, std::uint32_t blocks) {
  if (record.size() / sizeof(shm::Block) < blocks) {
    throw std::runtime_error("procession: a torn record");
  }
  std::size_t table = blocks * sizeof(shm::Block);
  return {record.first(table), record.subspan(table)};
}

// std::runtime_error if it is torn.
inline RecordRest read_record(base::BytesView record, CallHeader& header) {
  auto head = wire::cut<wire::Short>(record);
  header.task = head.task;
  header.function = head.word;
  header.form = head.form;
  header.kind = static_cast<CallKind>(head.kind);
  header.blocks = header.spilled = 0;
  if (!head.has_more) return {{}, record};
  auto more = wire::cut<wire::MoreOfCall>(record);
  header.blocks = more.blocks;
  header.spilled = more.spilled;
  return rest_of(record, more.blocks);
}

// The head of a record that is as usual, ahead of its payload; nothing if it's more than that, or of
// another kind.
template <class Kind>
std::optional<wire::Short> plain_head(base::BytesView record, Kind kind) noexcept {
  wire::Short head;
  if (record.size() < sizeof head) return std::nullopt;
  std::memcpy(&head, record.data(), sizeof head);
  bool is_plain = !head.has_more && head.kind == static_cast<std::uint8_t>(kind);
  return is_plain ? std::optional(head) : std::nullopt;
}

inline RecordRest read_record(base::BytesView record, ResultHeader& header) {
  auto head = wire::cut<wire::Short>(record);
  header.task = head.task;
  header.form = head.form;
  header.kind = static_cast<ResultKind>(head.kind);
  header.nanoseconds = head.word;
  if (!head.has_more) return {{}, record};
  auto more = wire::cut<wire::MoreOfResult>(record);
  header.began = more.began;
  header.nanoseconds = more.nanoseconds;
  header.kept = more.kept;
  header.blocks = more.blocks;
  header.spilled = more.spilled;
  header.retires = more.retires;
  // Any two times have a sum and a difference.
  auto is_time = [](std::int64_t ns) { return ns >= 0 && ns < std::int64_t{1} << 62; };
  if (!is_time(header.began) || !is_time(header.nanoseconds)) {
    throw std::runtime_error("procession: a torn record");
  }
  return rest_of(record, more.blocks);
}

}  // namespace procession::pool
