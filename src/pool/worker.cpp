// SPDX-License-Identifier: Apache-2.0
#include "pool/worker.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "os/barrier.hpp"
#include "os/cpu.hpp"
#include "os/process.hpp"
#include "os/signals.hpp"
#include "pool/events.hpp"

namespace procession::pool {

namespace {

// About what one sleep and wake across CPUs cost.
constexpr int kMostSpins = 2000 * kLooks;
constexpr int kFewestSpins = 50 * kLooks;
constexpr std::uint32_t kProbe = 32;
constexpr int kLongestLull = 64;  // breaths: a microsecond or two
constexpr std::chrono::milliseconds kBetweenLooks{1};
constexpr std::chrono::seconds kLongestUnheard{1};
// Turns on one CPU before one of the two is to leave it: more each time, for where that is of no use.
constexpr int kMoreTurns = 8;
constexpr int kMostTurns = 2048;
constexpr std::int64_t kShortTurnNs = 100'000;

}  // namespace

Worker::Worker(os::Fd memory, std::uint32_t place, os::Fd front, os::Fd back, os::Fd arena)
    : board_(std::move(memory)),
      parent_(board_.parent()),
      own_(board_.worker(place)),
      words_(board_.words(place)),
      calls_(board_.calls(place)),
      results_(board_.results(place)),
      arena_(std::move(arena), static_cast<int>(place) + 1),
      front_(std::move(front)),
      back_(std::move(back)),
      has_own_cpu_(board_.workers() < static_cast<std::uint32_t>(os::affine_cpus())),
      pid_(os::current_pid()) {
  note_oom_counter();
  if (board_.max_rss() != 0) resident_.emplace();
  bool has_barriers =
      board_.has_barriers() && os::register_for_barriers() && os::barrier_everywhere();
  fences_ = !has_barriers;
  own_.fence_first.store(has_barriers ? 0 : 1, std::memory_order_seq_cst);
}

void Worker::say_ready() {
  ResultHeader ready{kNoTask, ResultKind::kReady};
  ready.began = now_ns();
  reply(ready, {});
}

// As long as it gets on: what stands still for so long may be waiting for this worker.
void Worker::wait_to_be_heard(std::uint32_t weight) {
  std::uint32_t heard = own_.heard.load(std::memory_order_acquire);
  base::Deadline deadline = base::Deadline::never();
  while (static_cast<std::int32_t>(told_ - heard) > 0 && told_ - heard + weight > kMostUnheard &&
         stood_still_at_ != heard) {
    if (deadline.is_never()) deadline = base::Deadline::after(kLongestUnheard);
    own_.waits_to_be_heard.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    base::Waited waited = os::futex_wait(own_.heard, heard, deadline);  // which looks once more
    if (waited == base::Waited::kInterrupted) return;  // somebody has something else for it to do
    std::uint32_t before = std::exchange(heard, own_.heard.load(std::memory_order_acquire));
    if (heard != before) {
      deadline = base::Deadline::never();
    } else if (deadline.passed()) {
      stood_still_at_ = heard;
    }
  }
}

// Who is told to is not who waits in `next`, so it has words of its own to wait on.
void Worker::tell(ResultHeader header, base::BytesView payload) {
  std::uint32_t weight = weight_of_message(payload.size());
  wait_to_be_heard(weight);
  header.kind = ResultKind::kMessage;
  shm::Block block;
  if (payload.size() > kLargestInline) {
    block = arena_.allocate(payload.size());
    shm::copy(arena_.bytes(block), payload);
    header.spilled = header.blocks = 1;
    payload = {};
  }
  auto blocks = std::span(&block, header.blocks);
  while (!write_record(results_, header, blocks, payload)) {
    std::uint32_t seen = own_.room.load(std::memory_order_relaxed);
    own_.wants_room.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (write_record(results_, header, blocks, payload)) break;
    os::ring(parent_is_at_front() ? front_ : back_);
    os::futex_wait(own_.room, seen, base::Deadline::never());
  }
  told_ += weight;  // only now: what can't be sent is never heard
  own_.wants_room.store(0, std::memory_order_relaxed);
  own_.has_told.store(1, std::memory_order_relaxed);
  ring_parent(kNoTask);
}

bool Worker::next_slowly(Call& call, const std::function<void(bool)>& on_sleep,
                         const std::function<void()>& on_interrupt) {
  while (true) {
    std::optional<base::BytesView> record = calls_.peek();
    if (!record) {
      rest();
      record = calls_.peek();
    }
    int spins = spins_;
    bool goes_first = own_.goes_first_on.load(std::memory_order_relaxed) == os::current_cpu();
    if (goes_first) went_first_ = true;
    if (std::exchange(rang_beside_, false) || goes_first) {
      if (is_cramped()) {
        std::atomic<int>& crowded = parent_.crowded_cpu;
        if (goes_first) {  // who waits is awake, and spins when its call has gone elsewhere
          os::move_to_another_cpu();
          one_leaves_ = true;
        } else if (crowded.load(std::memory_order_relaxed) == ParentBoard::kCantLeave) {
          os::move_to_another_cpu();
        } else {  // if this one moved, the next ring would bring the front along
          crowded.store(os::current_cpu(), std::memory_order_relaxed);
          one_leaves_ = true;
        }
      }
      if (!record) {  // else the front has been here in between, and asks for more already
        give_way();
        record = calls_.peek();
        // Who moves needs a while, and would bring back whom it had to wake.
        spins = std::exchange(one_leaves_, false) ? kMostSpins : 0;
      }
    }
    for (int i = 0; !record && i < spins; ++i) {
      if (i % kLooks == 0) pause();
      record = calls_.peek();
      if (record) spins_ = std::min(kMostSpins, spins_ * 2);
    }
    if (!record) {
      // Now and then a long one: a peer that has become quick is not met by short ones.
      if (spins > 0) {
        spins_ = ++vain_spins_ % kProbe == 0 ? kMostSpins : std::max(kFewestSpins, spins_ / 2);
      }
      sleep(on_sleep, on_interrupt);
      continue;
    }
    if (read_plain(*record)) {
      if (!claim()) {
        calls_.pop();
        continue;
      }
      begin_plain(call, *record);
      return true;
    }
    RecordRest rest = read_record(*record, call.header);
    if (call.header.kind == CallKind::kStop) return false;
    // What was taken back may have ended elsewhere, and its blocks be gone.
    if (call.header.kind == CallKind::kCall && !claim()) {
      calls_.pop();
      continue;
    }
    call.payload = rest.payload;
    call.blocks = rest.copied_blocks();
    if (call.header.spilled && !call.blocks.empty()) {
      call.payload = arena_.bytes(call.blocks.front());
      call.blocks.erase(call.blocks.begin());
    }
    has_call_ = true;
    function_ = call.header.function;
    ++in_row_;
    return true;
  }
}

// Each look for a call takes the ring's end from the parent, who has to fetch it back to write the next
// one. Where calls come in a stream it is left alone for longer, and then there are many of them.
void Worker::rest() noexcept {
  bool is_stream = in_row_ > 1;
  lull_ = is_stream ? std::min(kLongestLull, lull_ * 2 + 1) : lull_ / 2;
  in_row_ = 0;
  for (int i = 0; i < lull_; ++i) os::pause();
}

// Has the front, just woken on this CPU, go on before this worker does.
void Worker::give_way() noexcept {
  own_.left_cpu.store(os::current_cpu(), std::memory_order_relaxed);
  os::yield();
  own_.left_cpu.store(-1, std::memory_order_relaxed);
}

// The parent decides at once. If it took calls back it asks again only after this; else it may ask while
// its answer is being read.
void Worker::hear_revocation() noexcept {
  Revocation& told = own_.revocation;
  std::uint64_t asked = 0;
  do {
    asked = told.asked.load(std::memory_order_acquire);
    while (told.decided.load(std::memory_order_acquire) != asked) {
      os::yield();
      asked = told.asked.load(std::memory_order_acquire);
    }
    skip_from_ = told.from.load(std::memory_order_acquire);
    skip_up_to_ = told.up_to.load(std::memory_order_acquire);
  } while (told.asked.load(std::memory_order_acquire) != asked);
  revocations_ = asked;
  told.heard.store(asked, std::memory_order_release);
}

// Whoever wakes somebody tends to have him beside himself, on the same CPU: there the two take turns
// and never meet, though another CPU idles. After so many short turns like that, one of them is to move.
bool Worker::is_cramped() noexcept {
  bool is_beside = parent_.front_cpu.load(std::memory_order_relaxed) == os::current_cpu();
  if (!is_beside && !woken_beside_ && !went_first_) {
    cramped_ = 0;
    return false;
  }
  if (cramped_++ == 0) cramped_since_ = now_ns();
  if (cramped_ < most_cramped_) return false;
  bool is_short = now_ns() - cramped_since_ < cramped_ * kShortTurnNs;
  cramped_ = 0;
  if (is_short) most_cramped_ = std::min(most_cramped_ + kMoreTurns, kMostTurns);
  return is_short;
}

void Worker::sleep(const std::function<void(bool)>& on_sleep,
                   const std::function<void()>& on_interrupt) {
  own_.asleep.store(1, std::memory_order_seq_cst);
  if (!barrier() || calls_.has_record()) {
    own_.asleep.store(0, std::memory_order_relaxed);
    return;
  }
  // There was a barrier now, so what it missed when it looked early is to be seen.
  if (std::exchange(looked_early_, false)) ring_if_wanted(kAnyTask);
  if (own_.calls_full.load(std::memory_order_relaxed) && own_.calls_full.exchange(0)) {
    if (parent_is_at_front()) os::ring(front_);
    os::ring(back_);  // who is at the front may be leaving
  }
  if (is_cramped()) {
    os::move_to_another_cpu();
    if (woken_beside_) {  // by who sends more and more, and is met only by who is awake
      woken_beside_ = false;
      spins_ = kMostSpins;
      own_.asleep.store(0, std::memory_order_relaxed);
      return;
    }
  }
  went_first_ = false;
  own_.left_cpu.store(os::current_cpu(), std::memory_order_relaxed);
  on_sleep(true);
  base::Waited waited = os::futex_wait(own_.asleep, 1, base::Deadline::never());
  own_.left_cpu.store(-1, std::memory_order_relaxed);
  woken_beside_ =
      has_own_cpu_ && own_.woken_from.load(std::memory_order_relaxed) == os::current_cpu();
  on_sleep(false);
  own_.asleep.store(0, std::memory_order_relaxed);
  if (waited == base::Waited::kInterrupted) on_interrupt();
}

// Between saying that it sleeps and a last look. False if there was none for the parent, which makes
// its own from now on: then this is not the time to sleep.
bool Worker::barrier() noexcept {
  bool is_one = own_.fence_first.load(std::memory_order_relaxed) || os::barrier_everywhere();
  if (!is_one) {
    own_.fence_first.store(1, std::memory_order_relaxed);
    fences_ = true;
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return is_one;
}

void Worker::reply_with(TaskId task, CallTimes times, std::uint16_t form, base::BytesView payload) {
  auto took = static_cast<std::uint32_t>(times.nanoseconds);
  bool is_plain = took == times.nanoseconds && payload.size() <= kLargestInline && is_as_usual();
  if (is_plain && write_plain_result(results_, task, took, form, payload)) {
    ring_parent(task);
    return;
  }
  ResultHeader header{task};
  header.form = form;
  header.began = times.began;
  header.nanoseconds = times.nanoseconds;
  reply(header, payload);
}

void Worker::reply(ResultHeader header, base::BytesView payload, std::vector<shm::Block> blocks) {
  if (payload.size() > kLargestInline) {
    shm::Block block = arena_.allocate(payload.size());
    shm::copy(arena_.bytes(block), payload);
    blocks.insert(blocks.begin(), block);
    header.spilled = 1;
    payload = {};
  }
  if (header.task != kNoTask && !wants_times()) header.began = 0;
  if (resident_ && header.task != kNoTask) header.retires = has_grown() ? 1 : 0;
  if (!write_record(results_, header, blocks, payload)) {
    do {
      own_.wants_room.store(1, std::memory_order_seq_cst);
      own_.asleep.store(1, std::memory_order_seq_cst);
      if (!barrier()) continue;
      if (write_record(results_, header, blocks, payload)) break;
      os::ring(parent_is_at_front() ? front_ : back_);
      os::futex_wait(own_.asleep, 1, base::Deadline::never());
    } while (!write_record(results_, header, blocks, payload));
    own_.wants_room.store(0, std::memory_order_relaxed);
    own_.asleep.store(0, std::memory_order_relaxed);
  }
  ring_parent(header.task);
}

bool Worker::has_grown() noexcept {
  if (!next_look_.passed()) return false;
  next_look_ = base::Deadline::after(kBetweenLooks);
  return resident_->bytes() > board_.max_rss();
}

void Worker::say(base::BytesView text) noexcept {
  if (os::current_pid() == pid_) pool::say(words_, text);
}

os::Fd Worker::crash_file() const {
  if (!os::crashes_are_unhandled()) return {};
  return os::open_again(board_.fd(), board_.offset_of(words_.crash.data()));
}

bool Worker::parent_is_at_front() const noexcept {
  return parent_.front_present.load(std::memory_order_relaxed) != 0;
}

void Worker::ring_if_wanted(TaskId task) noexcept {
  bool low = taken_ >= own_.ring_after.load(std::memory_order_relaxed);
  bool wanted = low || task == kNoTask;
  if (parent_.front_asleep.load(std::memory_order_relaxed)) {
    TaskId awaited = parent_.awaited.load(std::memory_order_relaxed);
    if ((wanted || awaited == kAnyTask || awaited == task) &&
        parent_.front_asleep.exchange(0, std::memory_order_relaxed)) {
      if (task != kNoTask) {  // else tell() rings, on any thread
        rang_beside_ = parent_.front_cpu.load(std::memory_order_relaxed) == os::current_cpu();
      }
      os::ring(front_);
    }
  } else if (!parent_.front_present.load(std::memory_order_relaxed) &&
             parent_.back_asleep.load(std::memory_order_relaxed) &&
             (wanted || parent_.back_wants_all.load(std::memory_order_relaxed)) &&
             parent_.back_asleep.exchange(0, std::memory_order_relaxed)) {
    os::ring(back_);
  }
}

}  // namespace procession::pool
