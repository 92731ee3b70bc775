// SPDX-License-Identifier: Apache-2.0
// pool: a worker that reads calls, and a parent that reads results, of which the other side has made
// something else. A call or an outcome comes of it, or std::runtime_error in the worker; the parent goes on.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/check.hpp"
#include "base/error.hpp"
#include "input.hpp"
#include "pool/pool.hpp"
#include "pool/worker.hpp"

namespace procession::fuzz {

namespace {

using pool::Board;
using shm::Block;

constexpr std::uint32_t kRing = 4096;
constexpr std::size_t kMostOperations = 100;

std::uint8_t touch(base::BytesView bytes) {
  std::uint8_t sum = 0;
  for (std::byte byte : bytes) sum = static_cast<std::uint8_t>(sum ^ std::to_integer<int>(byte));
  return sum;
}

// The board's head and first pages, or a ring near to where it is read.
void corrupt_board(Input& input, os::SharedMapping& memory, shm::RingMemory ring) {
  if (input.below(2) == 0) {
    corrupt(input, ring.data, ring.control->head % ring.data.size());
  } else {
    corrupt(input, memory.bytes().first(8192));
  }
}

// A record as it should be, but for what the input says of it.
template <class Header>
void write(Input& input, shm::RingWriter& to, Header header, shm::Arena& arena) {
  std::array<Block, 2> blocks{};
  header.blocks = static_cast<std::uint32_t>(input.below(3));
  for (std::size_t i = 0; i < header.blocks; ++i) {
    blocks[i] = arena.allocate(1 + input.number<std::uint8_t>());
    if (input.below(8) == 0) corrupt(input, std::as_writable_bytes(std::span(blocks)));
  }
  auto table = std::span(blocks).first(header.blocks);
  header.spilled = static_cast<std::uint32_t>(input.below(2));
  if (input.below(4) == 0) corrupt(input, std::as_writable_bytes(std::span(&header, 1)));
  // Made in a ring of its own, so that what it says of itself can be spoiled as well.
  static shm::RingControl control;
  static std::array<std::byte, 4096> memory;
  shm::RingMemory scratch{&control, memory};
  shm::RingWriter writer(scratch);
  shm::RingReader reader(scratch);
  if (!pool::write_record(writer, header, table, input.bytes(input.number<std::uint8_t>()))) return;
  base::BytesView written = *reader.peek();
  base::Bytes record(written.begin(), written.end());
  reader.pop();
  if (input.below(4) == 0)
    corrupt(input, std::span(record).first(std::min<std::size_t>(record.size(), 56)));
  if (input.below(8) == 0) record.resize(input.below(record.size() + 1));
  std::uint32_t mark = input.below(8) == 0 ? pool::kNextOfRun : 0;
  std::byte* at = to.try_begin(record.size(), mark);
  if (!at) return;
  std::copy(record.begin(), record.end(), at);
  to.publish();
}

// --- the worker's side

struct NothingThere {};

void read_calls(Input& input) {
  Board board(1, kRing);
  os::SharedMapping memory(board.fd());
  shm::Arena arena = shm::Arena::create(shm::Arena::kSmallest);
  shm::RingWriter calls(board.calls(0));
  pool::Worker worker(os::duplicate(board.fd().get()), 0, os::create_event(), os::create_event(),
                      os::duplicate(arena.memory().get()));
  auto asleep = [](bool) { throw NothingThere(); };
  for (std::size_t i = 0; i < kMostOperations && !input.empty(); ++i) {
    switch (input.below(4)) {
      case 0:
      case 1: {
        pool::CallHeader header;
        header.kind = static_cast<pool::CallKind>(input.below(8) % 3 % 2);
        write(input, calls, header, arena);
        break;
      }
      case 2:
        corrupt_board(input, memory, board.calls(0));
        break;
      default: {
        if (calls.used() == 0) break;
        try {
          pool::Call call;
          if (!worker.next(call, asleep, [] {})) return;
          touch(call.payload);
          for (Block block : call.blocks) touch(worker.arena().bytes(block));
        } catch (const NothingThere&) {
        } catch (const std::runtime_error&) {
          return;
        }
      }
    }
  }
}

// --- the parent's side

// A process that is gone and was never waited for: nobody can be hurt by a signal to it.
pid_t gone() {
  static const pid_t pid = [] {
    pid_t made = ::fork();
    if (made == 0) ::_exit(0);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(made), &info, WEXITED | WNOWAIT);
    return made;
  }();
  return pid;
}

class Parent {
 public:
  // Nothing is in a run while somebody listens.
  explicit Parent(bool listens)
      : pool_({.max_workers = 2, .ring_size = kRing, .on_death = pool::OnDeath::kFailTask}),
        function_(pool_.add_function(base::Bytes(10))),
        board_(os::duplicate(pool_.worker_fds()[0])),
        memory_(board_.fd()),
        arena_(os::duplicate(pool_.worker_fds()[3]), 1) {
    if (listens) events_ = pool_.listen(100);
    start();
  }

  void submit(Input& input) {
    std::vector<Block> blocks;
    if (input.below(4) == 0) blocks.push_back(pool_.put(base::Bytes(100)));
    base::BytesView payload = input.bytes(input.below(32));
    tasks_.push_back(blocks.empty() ? pool_.submit(function_, 0, payload, nullptr)
                                    : pool_.submit(function_, 0, payload, nullptr, blocks));
  }

  void answer(Input& input) {
    if (input.below(4) == 0) {  // with nothing
      board_.worker(0).ended.store(input.below(tasks_.size() + 2));
      board_.worker(0).sample.store(input.number<std::uint64_t>());
      return;
    }
    pool::ResultHeader header;
    header.kind = static_cast<pool::ResultKind>(std::array{0, 1, 1, 1, 2, 2, 3, 4}[input.below(8)]);
    if (answered_ < tasks_.size() && header.kind != pool::ResultKind::kReady) {
      header.task = tasks_[answered_];
      answered_ += header.kind != pool::ResultKind::kMessage;
    }
    write(input, results_, header, arena_);
  }

  void corrupt(Input& input) { corrupt_board(input, memory_, board_.results(0)); }

  void collect() {
    pool_.collect(outcomes_);
    for (const pool::Outcome& outcome : outcomes_.ended) {
      touch(base::BytesView(outcomes_.bytes).subspan(outcome.begin, outcome.size));
      for (Block block : outcome.blocks()) look_into(block);
    }
    for (const pool::Message& message : outcomes_.messages) {
      touch(base::BytesView(outcomes_.bytes).subspan(message.begin, message.size));
    }
    bool is_lost = !outcomes_.losses.empty();
    std::optional<pool::Event> event;
    while (events_ && events_->next(event, base::Deadline::now()) == base::Waited::kReady &&
           event) {
    }
    if (is_lost) start();
  }

  void see_death() { pool_.wait_back(base::Deadline::now()); }

 private:
  void start() {
    std::optional<std::uint32_t> place = pool_.worker_wanted(true);
    if (!place) return;
    pool_.add_worker(*place, gone(), os::open_pidfd(gone()));
    results_ = shm::RingWriter(board_.results(0));
  }

  void look_into(Block block) {
    try {
      touch(pool_.content(block));
    } catch (const std::runtime_error&) {
    }
    pool_.release(block);
  }

  pool::Pool pool_;
  pool::FunctionId function_;
  Board board_;
  os::SharedMapping memory_;
  shm::Arena arena_;
  shm::RingWriter results_;
  std::shared_ptr<pool::EventStream> events_;
  pool::Outcomes outcomes_;
  std::vector<pool::TaskId> tasks_;
  std::size_t answered_ = 0;
};

void read_results(Input& input) {
  Parent parent(input.below(2) == 0);
  for (std::size_t i = 0; i < kMostOperations && !input.empty(); ++i) {
    switch (input.below(8)) {
      case 0:
      case 1:
        parent.submit(input);
        break;
      case 2:
      case 3:
        parent.answer(input);
        break;
      case 4:
        parent.corrupt(input);
        break;
      case 5:
        parent.see_death();
        break;
      default:
        parent.collect();
    }
  }
  parent.collect();
}

}  // namespace

void fuzz(Input input) { input.below(2) == 0 ? read_calls(input) : read_results(input); }

}  // namespace procession::fuzz
