// SPDX-License-Identifier: Apache-2.0
// api/future_state: what the handles of one task's future share. Parent only.
//
// Many lie in one chunk of memory, which goes when all of them have gone.
//
// Counted by its handles and, until the task's end, by the pool. Who settles it writes the
// outcome first and then that it is done; from then on all but the references is fixed. A forked copy may
// read what had been settled, and nothing else: another thread may have held the lock at the fork.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "api/pool_core.hpp"
#include "base/bytes.hpp"
#include "base/sanitizers.hpp"
#include "os/cpu.hpp"
#include "pool/pool.hpp"
#include "procession/detail/any_future.hpp"

namespace procession::detail {

// There may be millions at a time, and few are more than waited for: what only others have lies aside.
struct FutureState {
  // One whose first two references are a handle's and the pool's.
  static FutureState* make(api::PoolCore& owner);
  // Gives memory back that is kept for the next ones.
  static void let_spares_go() noexcept;
  // Of that memory; a fork is to have it.
  static std::mutex& spares_mutex() noexcept;
  FutureState(const FutureState&) = delete;
  FutureState& operator=(const FutureState&) = delete;

  bool done() const noexcept { return (word.load(std::memory_order_acquire) & kDone) != 0; }
  bool has_result() const noexcept {
    return (word.load(std::memory_order_acquire) & kEnded) != 0 &&
           kind == pool::OutcomeKind::kResult;
  }
  bool is_cancelled() const noexcept {
    return (word.load(std::memory_order_acquire) & kCancelled) != 0;
  }
  void ref() noexcept { word.fetch_add(kReference, std::memory_order_relaxed); }
  void unref() noexcept {
    // Who has the only reference is alone with it, and needs no locked instruction.
    bool is_last = word.load(std::memory_order_acquire) / kReference == 1;
    if (is_last || word.fetch_sub(kReference, std::memory_order_acq_rel) / kReference == 1) {
      destroy();
    }
  }

  // Its pool as long as it is pending; then null.
  std::shared_ptr<api::PoolCore> pool();

  // Keeps the outcome and lets go of the pool's reference. The hooks that wait for it are the
  // caller's to run.
  Hook* settle(pool::Outcome&& outcome, base::BytesView payload);
  Hook* settle_cancelled() { return end(kCancelled); }
  // The same of a small result that nobody is to be told of; else false.
  bool try_settle(base::BytesView payload) noexcept {
    std::uint32_t seen = word.load(std::memory_order_relaxed);
    if ((seen & (kLocked | kHooked)) != 0 || payload.size() > kSmall) return false;
    if (!payload.empty()) keep_small(payload);
    while (!word.compare_exchange_weak(seen, (seen | kEnded) - kReference,
                                       std::memory_order_acq_rel)) {
      if ((seen & (kLocked | kHooked)) != 0) return false;
    }
    if (seen / kReference == 1) destroy();
    return true;
  }

  // False if it is done.
  bool try_add(Hook& hook);
  bool remove(Hook& hook);

  // Of one that has ended.
  base::BytesView payload() const;
  Incoming read() const;
  std::exception_ptr failure() const;  // null if there is a result

  // What few outcomes have.
  struct More {
    base::Bytes payload;                  // if it is not small
    std::shared_ptr<api::PoolCore> core;  // whose blocks these are
    std::vector<shm::Block> blocks;
    std::unique_ptr<api::Ending> ending;  // of what is neither kResult nor kFailure
  };
  More& more_to_write();

  // Each change of `word` takes a locked instruction, so there are few.
  static constexpr std::uint32_t kLocked = 1;  // for moments: hooks, and the end if there are any
  static constexpr std::uint32_t kHooked = 2;  // there are hooks, or were
  static constexpr std::uint32_t kWanted = 4;  // by a hook for the manager thread
  static constexpr std::uint32_t kCancelled = 8;
  static constexpr std::uint32_t kEnded = 16;
  static constexpr std::uint32_t kDone = kCancelled | kEnded;
  static constexpr std::uint32_t kReference = 32;
  std::atomic<std::uint32_t> word{2 * kReference};
  pool::OutcomeKind kind = pool::OutcomeKind::kResult;
  std::uint8_t small_size = 0;
  bool spilled : 1 = false;  // the payload is in the first block
  bool has_more : 1 = false;
  const std::uint8_t at;  // of its chunk's
  pool::TaskId task = pool::kNoTask;
  api::PoolCore* const core;  // there until that has let go: a pool ends after its tasks

  // What lies aside, each made when it is first needed.
  struct Aside {
    Hook* hooks;          // if kHooked
    More* more;           // if has_more
    std::byte small[16];  // small_size bytes: the payload of an outcome
  };
  static constexpr std::size_t kSmall = sizeof(Aside::small);
  Aside& aside() const noexcept;
  // Whether the task was submitted by a process of which this one is a copy.
  bool is_before_fork() const noexcept;

  // Where they lie: a page. Each maker takes one state after the other from a chunk of its own. A state that
  // lasts keeps its whole chunk.
  struct Chunk;
  static constexpr std::uint32_t kInChunk = base::kUnderAsan ? 1 : 72;  // ASan is to see each go

  // Makes them, for one thread at a time.
  struct Maker {
    bool is_ready() const noexcept { return used != ready; }
    // If it is.
    FutureState* make(api::PoolCore& owner) noexcept {
      os::prefetch_to_write(ahead);  // where there are many, the next ones aren't in the cache
      ahead += sizeof(FutureState);
      std::uint32_t place = used++;
      return new (states + place * sizeof(FutureState))
          FutureState(owner, static_cast<std::uint8_t>(place));
    }
    void get_ready();
    void give_up() noexcept;

    static constexpr std::uint32_t kAhead = std::min(32U, kInChunk - 1);

    Chunk* chunk = nullptr;
    Chunk* next = nullptr;        // if few are left of that
    std::byte* states = nullptr;  // its
    std::byte* ahead = nullptr;   // kAhead states behind the one to be made
    std::uint32_t born = 0;       // as of its chunks
    std::uint32_t used = kInChunk;
    std::uint32_t ready = kInChunk;  // so many of them can be made before it gets ready anew

    // There until the thread's very end: destructors of what else belongs to it may submit, too.
    static thread_local constinit Maker of_this_thread;
  };

 private:
  class Lock;

  FutureState(api::PoolCore& owner, std::uint8_t place) noexcept : at(place), core(&owner) {}
  ~FutureState();
  void destroy() noexcept;
  Hook* end(std::uint32_t how) noexcept;
  void keep_small(base::BytesView payload) noexcept;
};
static_assert(sizeof(FutureState) == 24);

struct FutureState::Chunk {
  std::atomic<std::uint32_t> left{kInChunk};          // those that haven't gone, or haven't come
  const std::uint32_t born = api::PoolCore::forks();  // forks of this process until it was made
  Chunk* next = nullptr;                              // once it is a spare
  alignas(64) std::byte states[kInChunk][sizeof(FutureState)];
  Aside asides[kInChunk];

  static Chunk& of(const FutureState& state) noexcept {
    auto address = reinterpret_cast<std::uintptr_t>(&state);
    return *reinterpret_cast<Chunk*>(address - state.at * sizeof(FutureState) -
                                     offsetof(Chunk, states));
  }
  static Chunk* make();
  void let_go(std::uint32_t count) noexcept;
};
static_assert(base::kUnderAsan || sizeof(FutureState::Chunk) == 4096);

inline FutureState::Aside& FutureState::aside() const noexcept {
  return Chunk::of(*this).asides[at];
}

inline bool FutureState::is_before_fork() const noexcept {
  return Chunk::of(*this).born != api::PoolCore::forks();
}

inline void FutureState::keep_small(base::BytesView payload) noexcept {
  small_size = static_cast<std::uint8_t>(payload.size());
  std::memcpy(aside().small, payload.data(), payload.size());
}

}  // namespace procession::detail
