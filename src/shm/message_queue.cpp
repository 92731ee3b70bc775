// SPDX-License-Identifier: Apache-2.0
#include "shm/message_queue.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <stdexcept>
#include <string>

#include "base/check.hpp"
#include "base/error.hpp"
#include "os/barrier.hpp"
#include "os/cpu.hpp"
#include "os/event.hpp"
#include "shm/message_queue_record.hpp"
#include "shm/own_block.hpp"

namespace procession::shm {

using namespace message_queue;

namespace {

constexpr std::uint64_t kKeptRing = 1 << 20;  // a larger one is given back when it is empty

// Bytes of a message for whose room a put waits a moment before it takes new memory.
constexpr std::uint64_t kWorthWaiting = 8 << 10;
constexpr std::chrono::nanoseconds kLongestWait{100'000};

constexpr std::uint32_t kLongestSpin = 50;  // us: what a sleep and the wake cost
constexpr std::uint32_t kPauses = 32;       // between two looks
constexpr std::uint32_t kLongestLull = 64;  // before the first: a microsecond or two
constexpr std::uint32_t kProbe = 64;        // of so many waits one spins, whatever was learned

// Against all who have just unlocked a biased mutex, too: the favourite's unlock is no barrier.
void full_barrier() noexcept {
  if (!os::barrier_everywhere()) std::atomic_thread_fence(std::memory_order_seq_cst);
}

// Whoever changes a count looks here afterwards, with no barrier in between where that is this side's.
bool wanted(const std::atomic<std::uint32_t>& bell) noexcept {
  return bell.load(std::memory_order_relaxed) != 0;
}

void want(std::atomic<std::uint32_t>& bell) noexcept {
  if (wanted(bell)) return;
  bell.store(1, std::memory_order_relaxed);
  full_barrier();
}

bool can_spin() {
  static const bool can = os::usable_cpus() > 1;
  return can;
}

}  // namespace

void message_queue::corrupted() {
  throw std::runtime_error(
      "procession: the memory of a queue is corrupted: some process has written where it "
      "shouldn't");
}

MessageQueue::Record& MessageQueue::record() const noexcept { return cell_->as<Record>(); }

MessageQueue::Ring& MessageQueue::ring() const noexcept {
  Record& queue = record();
  return queue.rings[queue.current.load(std::memory_order_acquire) & 1];
}

const bool MessageQueue::kRegistered = (Commons::on_end(CellKind::kQueue, &end, &settle), true);

MessageQueue::MessageQueue(std::uint32_t most, Bells bells) {
  Commons& commons = Commons::instance();
  if (bells == Bells::kYes) {
    bell_ = os::create_event();
    if (most > 0) room_bell_ = os::create_event();
  }
  cell_ = commons.make_cell(CellKind::kQueue, CellHeader::kRoomFor<Record>);
  Record& queue = record();
  queue.put_mutex.init();
  queue.get_mutex.init();
  queue.most = most;
  OwnBlock block(commons, commons.allocate(kFirstRing));
  queue.rings[0].capacity = kFirstRing;
  queue.rings[0].offset = block.get().offset;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  commons.hand_over(block.get(), Commons::kSession);
  block.let_go();
}

MessageQueue::MessageQueue(const CellName& name, os::Fd bell, os::Fd room_bell)
    : cell_(Commons::instance().find_cell(name, CellKind::kQueue)),
      bell_(std::move(bell)),
      room_bell_(std::move(room_bell)) {}

std::uint32_t MessageQueue::most() const noexcept { return record().most; }

std::uint32_t MessageQueue::size() const noexcept {
  Record& queue = record();
  // The other way round, a message that is put and taken in between would make it negative.
  std::uint32_t gets = queue.gets.load(std::memory_order_acquire);
  std::uint32_t size = queue.puts.load(std::memory_order_acquire) - gets;
  return size > INT_MAX ? 0 : size;  // who put the last one was killed before it was counted
}

const MessageQueue::Mapped& MessageQueue::map(Mapped& cached, const Ring& ring) {
  std::uint64_t offset = ring.offset;
  std::uint64_t capacity = ring.capacity;
  if (cached.offset != offset || cached.capacity != capacity || !cached.data) {
    if (!std::has_single_bit(capacity) || capacity < kFirstRing) corrupted();
    cached = {offset, capacity, cell_->commons().bytes({offset, capacity}).data()};
  }
  return cached;
}

// std::runtime_error if there can be no such positions.
std::uint64_t MessageQueue::Mapped::used(std::uint64_t head, std::uint64_t tail) const {
  if (tail - head > capacity || head % 8 != 0) corrupted();
  return tail - head;
}

// Put

bool MessageQueue::try_put(std::uint32_t form, base::BytesView payload,
                           std::span<const Block> blocks) {
  PROCESSION_CHECK(payload.size() <= kMostInline && blocks.size() <= kMostBlocks);
  std::uint64_t need = round_up(sizeof(Entry) + blocks.size_bytes() + payload.size());
  if (need < kWorthWaiting || !can_spin()) {
    return put(need, form, payload, blocks, true) == Put::kDone;
  }
  // Memory that is new costs as much as this wait: a ring that its reader keeps up with stays small.
  auto end =
      base::Deadline::Clock::now() + std::min(kLongestWait, std::chrono::nanoseconds(need * 2 / 3));
  const os::FutexWord& gets = record().gets;
  while (true) {
    std::uint32_t seen = gets.load(std::memory_order_acquire);
    bool may_grow = base::Deadline::Clock::now() >= end;
    Put done = put(need, form, payload, blocks, may_grow);
    if (done != Put::kNoMemory) return done == Put::kDone;
    while (gets.load(std::memory_order_acquire) == seen && base::Deadline::Clock::now() < end) {
      for (int i = 0; i < 16; ++i) os::pause();
    }
  }
}

MessageQueue::Put MessageQueue::put(std::uint64_t need, std::uint32_t form, base::BytesView payload,
                                    std::span<const Block> blocks, bool may_grow) {
  Record& queue = record();
  {
    BiasedMutex::Lock lock(queue.put_mutex, cell_->commons());
    // Who is seen to put something, has been killed.
    if (lock.owner_died() || queue.putter.load(std::memory_order_acquire)) repair_puts(queue);
    std::uint32_t puts = queue.puts.load(std::memory_order_relaxed);
    if (queue.most && puts - queue.seen_gets >= queue.most) {
      queue.seen_gets = queue.gets.load(std::memory_order_acquire);
      if (puts - queue.seen_gets >= queue.most) {
        if (wanted(queue.wants_room_bell)) quieten_room_bell();
        return Put::kFull;
      }
    }
    Ring* to = &ring();
    Mapped memory = map(put_ring_, *to);
    std::uint64_t tail = to->tail.load(std::memory_order_relaxed);
    auto padding = [&] {  // the room that is left before the ring's end, if it is too small
      std::uint64_t left = memory.left(tail);
      return left < need ? left : 0;
    };
    auto lacks_room = [&] {
      std::uint64_t used = tail - to->seen_head;
      return used > memory.capacity || padding() + need > memory.capacity - used;
    };
    if (lacks_room()) {
      to->seen_head = to->head.load(std::memory_order_acquire);
      std::uint64_t used = memory.used(to->seen_head, tail);
      bool is_too_large = used == 0 && memory.capacity > kKeptRing && need < kFirstRing;
      if (is_too_large || lacks_room()) {
        if (!may_grow && used > 0) return Put::kNoMemory;
        move_to(queue, is_too_large ? kFirstRing : std::bit_ceil((used + need) * 2));
        to = &ring();
        memory = map(put_ring_, *to);
        tail = to->tail.load(std::memory_order_relaxed);
      }
    }
    if (tail % 8 != 0) corrupted();
    std::uint64_t skipped = padding();
    if (skipped) *reinterpret_cast<std::uint32_t*>(memory.at(tail)) = kSkip;
    auto& entry = *reinterpret_cast<Entry*>(memory.at(tail + skipped));
    entry.mark = kMark;
    entry.form = form;
    entry.length = static_cast<std::uint32_t>(payload.size());
    entry.blocks = static_cast<std::uint32_t>(blocks.size());
    entry.producer = cell_->commons().own_pid();
    entry.number = puts;
    entry.is_lost = 0;
    std::ranges::copy(blocks, entry.block_span().begin());
    if (!payload.empty()) std::memcpy(entry.payload(), payload.data(), payload.size());
    // Before it is there for others, who may release them at once.
    if (!blocks.empty()) hand_over(queue, tail + skipped, blocks);
    to->tail.store(tail + skipped + need, std::memory_order_release);
    queue.puts.store(puts + 1, std::memory_order_release);
    queue.putter.store(0, std::memory_order_release);
  }
  os::fence_after_unlock();
  if (queue.getters_asleep.load(std::memory_order_relaxed) && queue.getters_asleep.exchange(0)) {
    if (os::futex_wake(queue.puts, 1) > 0) queue.getters_asleep = 1;  // others may sleep, too
  }
  if (wanted(queue.wants_bell)) os::ring(bell_);
  if (wanted(queue.wants_room_bell)) quieten_room_bell();
  return Put::kDone;
}

// The blocks, of what lies at that position, become another party's. `mover` is to be 0 when that shows.
void MessageQueue::move_blocks(std::atomic<Ticket>& mover, std::uint64_t& mover_at,
                               std::uint64_t position, std::span<const Block> blocks, int to) {
  Commons& commons = cell_->commons();
  mover_at = position;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  mover.store(commons.ticket(), std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  try {
    for (Block block : blocks) commons.hand_over(block, to);
  } catch (...) {  // there is no such block
    mover = 0;
    throw;
  }
}

void MessageQueue::hand_over(Record& queue, std::uint64_t position, std::span<const Block> blocks) {
  move_blocks(queue.putter, queue.putter_at, position, blocks, Commons::kSession);
}

void MessageQueue::take_over(Record& queue, std::uint64_t position, std::span<const Block> blocks) {
  int own = static_cast<int>(cell_->commons().ticket() & kPlaceMask);
  move_blocks(queue.taker, queue.taker_at, position, blocks, own);
}

// Under the putters' mutex: all messages go to a ring of that capacity.
void MessageQueue::move_to(Record& queue, std::uint64_t capacity) {
  Commons& commons = cell_->commons();
  capacity = std::max(capacity, kFirstRing);
  OwnBlock made(commons, commons.allocate(capacity));
  std::byte* to = commons.bytes(made.get()).data();
  BiasedMutex::Lock getting(queue.get_mutex, cell_->commons());
  if (getting.owner_died()) repair_gets(queue);
  Ring& from = ring();
  Ring& other = queue.rings[1 - (queue.current & 1)];
  const Mapped& memory = map(put_ring_, from);
  std::uint64_t head = from.head.load(std::memory_order_acquire);
  std::uint64_t used = memory.used(head, from.tail.load(std::memory_order_relaxed));
  std::uint64_t first = std::min(used, memory.left(head));
  if (used > capacity) corrupted();
  // What lies behind a skip at the end begins anew, as it will be read: skips travel as they are.
  std::memcpy(to, memory.at(head), first);
  std::uint64_t length = first;
  if (used > first) {
    std::uint64_t entries = 0;  // the end of the last entry before the ring's end
    while (entries < first) {
      auto& entry = *reinterpret_cast<Entry*>(to + entries);
      if (entry.mark == kSkip) break;
      entries += entry.size(first - entries);
    }
    length = std::min(entries, first);
    std::memcpy(to + length, memory.data, used - first);
    length += used - first;
  }
  std::uint32_t next = 1 - (queue.current & 1);
  other.offset = made.get().offset;
  other.capacity = capacity;
  other.head = 0;
  other.seen_head = 0;
  other.seen_tail = length;
  other.tail = length;
  const std::array<Block, 1> block{made.get()};
  hand_over(queue, kMoving - next, block);
  made.let_go();
  queue.current.store(next, std::memory_order_release);
  commons.take_over({memory.offset, 0});
  from.offset = 0;
  queue.putter.store(0, std::memory_order_release);
  commons.release(memory.offset);
}

// Get

bool MessageQueue::try_get(Message& message) {
  Record& queue = record();
  if (!has_message()) {  // whoever puts something wakes, in any case
    if (wanted(queue.wants_bell)) quieten_bell();
    return false;
  }
  bool received = false;
  {
    BiasedMutex::Lock lock(queue.get_mutex, cell_->commons());
    if (lock.owner_died() || queue.taker.load(std::memory_order_acquire)) repair_gets(queue);
    while (!received) {
      Ring& from = ring();
      std::uint64_t head = from.head.load(std::memory_order_relaxed);
      std::uint64_t tail = from.seen_tail.load(std::memory_order_relaxed);
      if (head == tail) {
        tail = from.tail.load(std::memory_order_acquire);
        from.seen_tail.store(tail, std::memory_order_relaxed);
        if (head == tail) break;
      }
      const Mapped& memory = map(get_ring_, from);
      std::uint64_t used = memory.used(head, tail);
      auto& entry = *reinterpret_cast<Entry*>(memory.at(head));
      if (entry.mark == kSkip) {
        if (used < memory.left(head)) corrupted();
        from.head.store(head + memory.left(head), std::memory_order_release);
        continue;
      }
      std::uint64_t length = entry.size(std::min(memory.left(head), used));
      received = receive(queue, head, entry, message);
      if (!received) ++queue.lost;
      queue.taken = entry.number;
      std::atomic_signal_fence(std::memory_order_seq_cst);
      queue.is_taking = received;
      std::atomic_signal_fence(std::memory_order_seq_cst);
      // In this order: who is killed in between leaves something to be seen, and so to be repaired.
      queue.gets.store(entry.number + 1, std::memory_order_release);
      from.head.store(head + length, std::memory_order_release);  // the entry may be overwritten
      queue.taker.store(0, std::memory_order_release);
      if (received) message.lost = std::exchange(queue.lost, 0);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      queue.is_taking = 0;
    }
  }
  os::fence_after_unlock();
  if (queue.putters_asleep.load(std::memory_order_relaxed) && queue.putters_asleep.exchange(0)) {
    if (os::futex_wake(queue.gets, 1) > 0) queue.putters_asleep = 1;
  }
  if (wanted(queue.wants_room_bell)) os::ring(room_bell_);
  if (wanted(queue.wants_bell)) quieten_bell();
  return received;
}

// Under the getters' mutex: its content becomes this process's. False if a process was killed as it
// did the same and it isn't whole any more.
bool MessageQueue::receive(Record& queue, std::uint64_t position, Entry& entry, Message& message) {
  if (entry.is_lost) return false;
  message.form = entry.form;
  message.producer = entry.producer;
  message.blocks.clear();
  if (entry.blocks > 0) {
    message.blocks.assign(entry.block_span().begin(), entry.block_span().end());
  }
  message.payload.assign(entry.payload(), entry.payload() + entry.length);
  if (entry.blocks > 0) take_over(queue, position, message.blocks);
  return true;
}

// Waiting

template <class Ready>
base::Waited MessageQueue::wait(os::FutexWord& word, std::atomic<std::uint32_t>& asleep,
                                base::Deadline deadline, Ready ready) {
  std::uint32_t spin = spin_us_.load(std::memory_order_relaxed);
  if (spin == 0 && waits_.fetch_add(1, std::memory_order_relaxed) % kProbe == 0)
    spin = kLongestSpin;
  if (can_spin() && spin > 0) {
    auto end = base::Deadline::Clock::now() + std::chrono::microseconds(spin);
    // Each look takes the word from whoever writes it. Where something comes in no time, in a stream, it
    // is left alone for longer, and then there is more of it.
    std::uint32_t lull = lull_.load(std::memory_order_relaxed);
    std::uint32_t pauses = std::max(1U, lull);
    auto rest = [&] {
      for (std::uint32_t i = 0; i < pauses; ++i) os::pause();
    };
    rest();
    bool is_ready = ready();
    lull_.store(is_ready ? std::min(kLongestLull, pauses * 2) : lull / 2,
                std::memory_order_relaxed);
    for (pauses = 1; !is_ready; pauses = std::min(kPauses, pauses * 2)) {
      if (base::Deadline::Clock::now() >= end) break;
      rest();
      is_ready = ready();
    }
    if (is_ready) {
      spin_us_.store(std::min(kLongestSpin, spin * 2), std::memory_order_relaxed);
      return base::Waited::kReady;
    }
    spin_us_.store(spin > 2 ? spin / 2 : 0, std::memory_order_relaxed);
  }
  while (true) {
    std::uint32_t seen = word.load(std::memory_order_acquire);
    asleep.store(1, std::memory_order_relaxed);
    full_barrier();
    if (ready()) return base::Waited::kReady;
    if (deadline.passed()) return base::Waited::kTimedOut;
    base::Deadline until = base::Deadline::earlier(deadline, base::Deadline::after(kLookAgain));
    if (os::futex_wait(word, seen, until) == base::Waited::kInterrupted) {
      return base::Waited::kInterrupted;
    }
  }
}

base::Waited MessageQueue::wait_for_message(base::Deadline deadline) {
  Record& queue = record();
  return wait(queue.puts, queue.getters_asleep, deadline, [this] { return has_message(); });
}

base::Waited MessageQueue::wait_for_room(base::Deadline deadline) {
  Record& queue = record();
  return wait(queue.gets, queue.putters_asleep, deadline, [this] { return has_room(); });
}

bool MessageQueue::task_done() {
  Record& queue = record();
  std::uint32_t done = queue.dones.load();
  do {
    if (done == queue.puts.load(std::memory_order_acquire)) return false;
  } while (!queue.dones.compare_exchange_weak(done, done + 1));
  if (unfinished() == 0 && queue.joiners_asleep.exchange(0)) os::futex_wake(queue.dones, INT_MAX);
  return true;
}

std::uint32_t MessageQueue::unfinished() const noexcept {
  Record& queue = record();
  std::uint32_t dones = queue.dones.load(std::memory_order_acquire);
  return queue.puts.load(std::memory_order_acquire) - dones;
}

base::Waited MessageQueue::wait_for_all_done(base::Deadline deadline) {
  Record& queue = record();
  return wait(queue.dones, queue.joiners_asleep, deadline, [this] { return unfinished() == 0; });
}

// The bells

// Looks at one word that is written by whoever puts, and not even at that while it is known that there is
// something. In a ring that has just been left, it may look as if there were something still.
bool MessageQueue::has_message() const noexcept {
  const Ring& from = ring();
  std::uint64_t head = from.head.load(std::memory_order_acquire);
  return head != from.seen_tail.load(std::memory_order_relaxed) ||
         head != from.tail.load(std::memory_order_acquire);
}

bool MessageQueue::has_room() const noexcept {
  Record& queue = record();
  return !queue.most || size() < queue.most;
}

// A bell is rung for each message, or each room, and quietened by whoever has seen that there is none. Who
// rings has changed the count before; who quietens looks at it again afterwards: a count that changed in
// between is seen, or its ring comes behind.
int MessageQueue::bell() {
  want(record().wants_bell);
  if (size() > 0) os::ring(bell_);
  return bell_.get();
}

int MessageQueue::room_bell() {
  want(record().wants_room_bell);
  if (has_room()) os::ring(room_bell_);
  return room_bell_.get();
}

void MessageQueue::quieten_bell() noexcept {
  if (size() > 0) return;
  os::answer(bell_);
  if (size() > 0) os::ring(bell_);
}

void MessageQueue::quieten_room_bell() noexcept {
  if (has_room()) return;
  os::answer(room_bell_);
  if (has_room()) os::ring(room_bell_);
}

}  // namespace procession::shm
