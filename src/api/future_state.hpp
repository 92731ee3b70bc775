// SPDX-License-Identifier: Apache-2.0
// api/future_state: what the handles of one task's future share. Parent only.
//
// Counted by its handles and, until the task's end, by the pool's ledger. Who settles it writes the
// outcome first and then the phase; from then on all but the hooks is fixed. A forked copy may read
// what had been settled, and nothing else: another thread may have held the lock at the fork.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "api/pool_core.hpp"
#include "base/bytes.hpp"
#include "pool/pool.hpp"
#include "procession/detail/any_future.hpp"

namespace procession::detail {

struct FutureState {
  enum class Phase : std::uint8_t { kPending, kCancelled, kEnded };

  explicit FutureState(std::shared_ptr<api::PoolCore> owner);
  FutureState(const FutureState&) = delete;
  FutureState& operator=(const FutureState&) = delete;
  ~FutureState();

  bool done() const noexcept { return phase.load(std::memory_order_acquire) != Phase::kPending; }
  void ref() noexcept { refs.fetch_add(1, std::memory_order_relaxed); }
  void unref() noexcept {
    if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // Its pool as long as it is pending, or holds blocks.
  std::shared_ptr<api::PoolCore> pool();

  // Keeps the outcome. The hooks that wait for it are the caller's to run.
  Hook* settle(pool::Outcome&& outcome, base::BytesView payload);
  Hook* settle_cancelled();

  // False if it is done.
  bool try_add(Hook& hook);
  bool remove(Hook& hook);

  // Of one that has ended.
  base::BytesView payload() const;
  Incoming read() const;
  std::exception_ptr failure() const;  // null if there is a result

  // What few outcomes have.
  struct More {
    base::Bytes payload;  // if it is not small
    std::vector<shm::Block> blocks;
    std::unique_ptr<api::Ending> ending;  // of what is neither kResult nor kFailure
  };
  More& more_to_write();

  // There may be many at a time, so all of it together is small.
  static constexpr std::size_t kSmall = 24;
  std::atomic<std::uint32_t> refs{1};
  std::atomic<Phase> phase{Phase::kPending};
  std::atomic_flag locked{};  // for moments: of `core` and `hooks`
  pool::OutcomeKind kind = pool::OutcomeKind::kResult;
  std::uint8_t small_size = 0;
  bool spilled = false;      // the payload is in the first block
  const std::uint32_t born;  // forks of this process until then
  std::uint32_t later = 0;   // hooks for the manager thread
  pool::TaskId task = pool::kNoTask;
  std::shared_ptr<api::PoolCore> core;
  Hook* hooks = nullptr;
  std::unique_ptr<More> more;
  std::byte small[kSmall];  // the payload of an outcome

 private:
  class Lock;
  Hook* end(Phase how, bool keep_core);
};
static_assert(sizeof(FutureState) <= 96);

}  // namespace procession::detail
