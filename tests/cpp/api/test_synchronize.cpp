// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "every_method.hpp"

namespace procession::tests {
namespace {

using namespace std::chrono_literals;

class Locks : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Locks);

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

// --- locks

void add(mp::Lock lock, mp::Value<int> sum, int times) {
  for (int i = 0; i < times; ++i) {
    std::scoped_lock held(lock);
    int seen = sum.value();
    if (i % 16 == 0) std::this_thread::yield();
    sum.value() = seen + 1;
  }
}

TEST_P(Locks, OneHolderAtATime) {
  mp::Lock lock;
  mp::Value<int> sum;
  std::vector<mp::Process> processes;
  for (int i = 0; i < 3; ++i) processes.push_back(context().Process(add, lock, sum, 2000));
  for (auto& process : processes) process.start();
  add(lock, sum, 2000);
  for (auto& process : processes) {
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  EXPECT_EQ(sum.get(), 8000);
  EXPECT_FALSE(lock.locked());
}

template <class Kind>
void acquire_and_die(Kind lock) {
  lock.acquire();
  die();
}

TEST_P(Locks, ADeadOwnersLockIsHadAndTold) {
  mp::Lock lock;
  mp::Process process = context().Process(acquire_and_die<mp::Lock>, lock);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), -SIGKILL);
  lock.acquire();
  EXPECT_TRUE(lock.owner_died());
  EXPECT_EQ(lock.owner(), ::getpid());
  EXPECT_FALSE(lock.try_acquire());
  lock.release();
  lock.acquire();
  EXPECT_FALSE(lock.owner_died()) << "it was told once";
  lock.release();
}

TEST_P(Locks, WhoeverWaitsIsWokenByTheDeath) {
  mp::RLock lock;
  mp::Event ready;
  mp::Process process = context().Process(
      +[](mp::RLock theirs, mp::Event acquired) {
        theirs.acquire();
        theirs.acquire();
        acquired.set();
        while (true) ::pause();
      },
      lock, ready);
  process.start();
  ready.wait();
  EXPECT_TRUE(lock.locked());
  EXPECT_EQ(lock.owner(), process.pid());
  EXPECT_FALSE(lock.try_acquire_for(10ms));
  std::thread killer([&] { process.kill(); });
  lock.acquire();
  EXPECT_TRUE(lock.owner_died());
  lock.acquire();
  EXPECT_TRUE(lock.owner_died()) << "once more by the same thread changes nothing";
  lock.release();
  lock.release();
  killer.join();
  process.join();
}

TEST_P(Locks, ADeadOwnersShareOfASemaphoreIsFreeAgain) {
  mp::BoundedSemaphore semaphore(2);
  EXPECT_EQ(semaphore.get_value(), 2);
  mp::Process process = context().Process(acquire_and_die<mp::BoundedSemaphore>, semaphore);
  process.start();
  process.join();
  semaphore.acquire();
  EXPECT_FALSE(semaphore.owner_died());
  semaphore.acquire();
  EXPECT_TRUE(semaphore.owner_died());
  EXPECT_FALSE(semaphore.try_acquire());
  semaphore.release();
  semaphore.release();
  EXPECT_EQ(message_of<std::logic_error>([&] { semaphore.release(); }),
            "semaphore or lock released too many times");
}

TEST_P(Locks, ReleasedElsewhere) {
  mp::Lock lock;
  lock.acquire();
  mp::Process process = context().Process(
      +[](mp::Lock theirs) { theirs.release(); }, lock);
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_FALSE(lock.locked());
  EXPECT_EQ(message_of<std::logic_error>([&] { lock.release(); }),
            "semaphore or lock released too many times");
  mp::RLock recursive;
  EXPECT_EQ(message_of<std::logic_error>([&] { recursive.release(); }),
            "attempt to release recursive lock not owned by thread");
}

TEST_P(Locks, WithTheStandardsLocks) {
  mp::Lock one;
  mp::RLock two;
  {
    std::scoped_lock both(one, two);
    EXPECT_TRUE(one.locked());
    EXPECT_TRUE(two.locked());
    std::unique_lock third(two, std::defer_lock);
    EXPECT_TRUE(third.try_lock_for(1ms));
    std::thread([&] {
      EXPECT_FALSE(one.try_lock());
      EXPECT_FALSE(two.try_lock_until(std::chrono::system_clock::now() + 5ms));
    }).join();
  }
  EXPECT_FALSE(one.locked());
  EXPECT_FALSE(two.locked());
}

bool nested(mp::RLock lock, mp::RLock again) {
  std::scoped_lock outer(lock);
  return again.try_acquire();
}
void tell_nested(mp::Connection<bool> link, mp::RLock lock, mp::RLock again) {
  link.send(nested(lock, again));
}

TEST_P(Locks, ThatArriveTwiceAreOne) {
  mp::RLock lock;
  EXPECT_TRUE(ask<bool>(context(), tell_nested, lock, lock));
}

// --- on the way

struct Tools {
  mp::Lock lock;
  std::vector<mp::Semaphore> semaphores;
  mp::Event done;
};
void use_all(Tools tools) {
  tools.lock.release();
  for (auto& semaphore : tools.semaphores) semaphore.release();
  tools.done.set();
}

TEST_P(Locks, WithinAggregatesAndContainers) {
  Tools tools{mp::Lock(), {mp::Semaphore(0), mp::Semaphore(0)}, mp::Event()};
  tools.lock.acquire();
  mp::Process process = context().Process(use_all, tools);
  process.start();
  tools.done.wait();
  for (auto& semaphore : tools.semaphores) semaphore.acquire();
  EXPECT_TRUE(tools.lock.try_acquire());
  process.join();
}

TEST_P(Locks, AreThereWhenTheyArriveThoughNobodyElseHasThem) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::Process process = context().Process(
      +[](mp::Connection<int> link, mp::Semaphore semaphore) { link.send(semaphore.get_value()); },
      std::move(theirs), mp::Semaphore(7));
  process.start();
  EXPECT_EQ(ours.recv(), 7);
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(Locks, OverAConnectionAndThroughAQueue) {
  auto [ours, theirs] = mp::Pipe<mp::Event>();
  mp::Queue<mp::Event> queue;
  mp::Process process = context().Process(
      +[](mp::Connection<mp::Event> link, mp::Queue<mp::Event> events) {
        link.recv().set();
        events.get().set();
      },
      std::move(theirs), queue);
  process.start();
  mp::Event one;
  mp::Event two;
  ours.send(one);
  one.wait();
  queue.put(two);
  two.wait();
  process.join();
}

void pass_on(mp::Event event, std::string method) {
  mp::Process grandchild = mp::get_context(method).Process(
      +[](mp::Event theirs) { theirs.set(); }, event);
  grandchild.start();
  grandchild.join();
}

TEST_P(Locks, ToGrandchildren) {
  mp::Event event;
  mp::Process process = context().Process(pass_on, event, method());
  process.start();
  event.wait();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

// What the program's static initialisers make is each process's own, except under fork.
mp::Lock global_lock;         // NOLINT(cert-err58-cpp)
mp::Queue<int> global_queue;  // NOLINT(cert-err58-cpp)

void use_globals(mp::Event event, mp::Connection<bool> link) {
  std::scoped_lock held(global_lock);
  global_queue.put(1);
  event.set();
  link.send(global_queue.qsize() == 1);
}

TEST_P(Locks, MadeByStaticInitialisers) {
  mp::Event event;
  auto [ours, theirs] = mp::Pipe<bool>();
  mp::Process process = context().Process(use_globals, event, std::move(theirs));
  process.start();
  event.wait();
  EXPECT_TRUE(ours.recv());
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(global_queue.qsize(), method() == "fork" ? 1U : 0U);
  global_queue.try_get();
}

// Passed on as an argument, it is the parent's.
TEST_P(Locks, MadeByStaticInitialisersAndPassedOn) {
  global_lock.acquire();
  mp::Process process = context().Process(
      +[](mp::Lock theirs) { theirs.release(); }, global_lock);
  process.start();
  process.join();
  EXPECT_FALSE(global_lock.locked());
}

TEST_P(Locks, InvalidHandles) {
  mp::Event event;
  mp::Event moved = std::move(event);
  EXPECT_EQ(
      message_of<std::invalid_argument>([&] { event.set(); }),  // NOLINT(bugprone-use-after-move)
      "the handle is closed, or was moved from");
  EXPECT_THROW(mp::Semaphore(-1), std::invalid_argument);
  EXPECT_THROW(mp::Barrier(0), std::invalid_argument);
}

// A process that comes to the session by another thread than its main one, and lives when that ends.
TEST_P(Locks, FirstUsedByAnotherThread) {
  auto [ours, theirs] = mp::Pipe<mp::Lock>();
  mp::Process process = context().Process(
      +[](mp::Connection<mp::Lock> link) {
        std::thread([&] {
          mp::Lock lock = link.recv();
          lock.acquire();
        }).join();
        while (true) ::pause();
      },
      std::move(theirs));
  process.start();
  mp::Lock lock;
  ours.send(lock);
  while (!lock.locked()) std::this_thread::yield();
  EXPECT_FALSE(lock.try_acquire_for(50ms));
  EXPECT_EQ(lock.owner(), process.pid());
  std::thread killer([&] { process.kill(); });
  lock.acquire();
  EXPECT_TRUE(lock.owner_died());
  killer.join();
  process.join();
}

// --- conditions

struct Counter {
  mp::Lock lock;
  mp::Condition changed;
  mp::Value<int> value;
};
void count_to(Counter counter, int end) {
  for (int i = 0; i < end; ++i) {
    std::unique_lock held(counter.lock);
    counter.changed.wait(held, [&] { return counter.value.value() % 2 == 1; });
    ++counter.value.value();
    counter.changed.notify_all();
  }
}

TEST_P(Locks, ConditionsByTurns) {
  Counter counter;
  mp::Process process = context().Process(count_to, counter, 200);
  process.start();
  for (int i = 0; i < 200; ++i) {
    std::unique_lock held(counter.lock);
    counter.changed.wait(held, [&] { return counter.value.value() % 2 == 0; });
    ++counter.value.value();
    counter.changed.notify_one();
  }
  process.join();
  EXPECT_EQ(counter.value.get(), 400);
}

TEST_P(Locks, ConditionsTellWhoIsWaiting) {
  mp::RLock lock;
  mp::Condition condition;
  mp::Semaphore waiting(0);
  mp::Process process = context().Process(
      +[](mp::RLock theirs, mp::Condition told, mp::Semaphore ready) {
        std::unique_lock held(theirs);
        ready.release();
        told.wait(held);
      },
      lock, condition, waiting);
  process.start();
  waiting.acquire();
  {
    std::scoped_lock held(lock);  // it waits by now
    condition.notify_one();
  }
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  std::unique_lock held(lock);
  EXPECT_FALSE(condition.wait_for(held, 5ms));
  EXPECT_FALSE(condition.wait_for(held, 5ms, [] { return false; }));
  EXPECT_TRUE(condition.wait_for(held, 5ms, [] { return true; }));
  EXPECT_TRUE(held.owns_lock());
}

// Who was to notify is killed when it has changed the value: the waiter finds it nevertheless.
TEST_P(Locks, ANotifiersDeathLeavesNobodyWaiting) {
  Counter counter;
  mp::Process process = context().Process(
      +[](Counter theirs) {
        theirs.lock.acquire();
        theirs.value.value() = 1;
        die();
      },
      counter);
  std::unique_lock held(counter.lock);
  process.start();
  counter.changed.wait(held, [&] { return counter.value.value() == 1; });
  held.unlock();
  process.join();
}

// --- events

TEST_P(Locks, Events) {
  mp::Event go;
  mp::Event done;
  EXPECT_FALSE(go.wait_for(0ms));
  EXPECT_FALSE(go.wait_for(5ms));
  mp::Process process = context().Process(
      +[](mp::Event first, mp::Event second) {
        first.wait();
        second.set();
      },
      go, done);
  process.start();
  EXPECT_FALSE(done.is_set());
  go.set();
  done.wait();
  EXPECT_TRUE(done.wait_for(0s));
  done.clear();
  EXPECT_FALSE(done.is_set());
  process.join();
}

// --- barriers

void pass(mp::Barrier barrier, mp::Value<int> sum, int times) {
  for (int i = 0; i < times; ++i) {
    int index = barrier.wait();
    std::scoped_lock held(sum.get_lock());
    sum.value() += index;
  }
}

TEST_P(Locks, Barriers) {
  constexpr int kTimes = 100;
  mp::Barrier barrier(3);
  mp::Value<int> sum;
  EXPECT_EQ(barrier.parties(), 3);
  mp::Process one = context().Process(pass, barrier, sum, kTimes);
  mp::Process two = context().Process(pass, barrier, sum, kTimes);
  one.start();
  two.start();
  pass(barrier, sum, kTimes);
  one.join();
  two.join();
  EXPECT_EQ(sum.get(), kTimes * 3);
  EXPECT_EQ(barrier.n_waiting(), 0);
  EXPECT_FALSE(barrier.broken());
}

TEST_P(Locks, AWaitersDeathBreaksABarrier) {
  mp::Barrier barrier(3);
  mp::Process process = context().Process(
      +[](mp::Barrier theirs) { theirs.wait(); }, barrier);
  process.start();
  std::thread killer([&, handle = barrier] {
    while (handle.n_waiting() < 2) std::this_thread::yield();
    process.kill();
  });
  EXPECT_THROW(barrier.wait(), mp::BrokenBarrierError);
  killer.join();
  process.join();
  EXPECT_TRUE(barrier.broken());
  EXPECT_THROW(barrier.wait(), mp::BrokenBarrierError);
  barrier.reset();
  EXPECT_FALSE(barrier.broken());
  EXPECT_THROW(barrier.wait(5ms), mp::BrokenBarrierError) << "a timeout breaks it, too";
}

TEST_P(Locks, AbortAndResetTellWhoeverWaits) {
  for (bool abort : {false, true}) {
    mp::Barrier barrier(2);
    mp::Process process = context().Process(
        +[](mp::Barrier theirs) { theirs.wait(); }, barrier);
    errors_of([&] {
      process.start();
      while (barrier.n_waiting() < 1) std::this_thread::yield();
      abort ? barrier.abort() : barrier.reset();
      process.join();
    });
    EXPECT_EQ(barrier.broken(), abort);
    EXPECT_EQ(process.exitcode(), 1);
    EXPECT_FALSE(message_of<mp::BrokenBarrierError>(process.exception()).empty());
  }
}

// --- in pools

class LocksInPools : public EveryPoolMethod {};
PROCESSION_UNDER_EVERY_METHOD(LocksInPools);

int add_one(mp::Value<int> sum, mp::Lock lock) {
  std::scoped_lock held(lock);
  return ++sum.value();
}

TEST_P(LocksInPools, AsArgumentsOfTasks) {
  mp::Value<int> sum;
  mp::Lock lock;
  mp::ProcessPoolExecutor pool({.max_workers = 2, .mp_context = context()});
  std::vector<mp::Future<int>> futures;
  for (int i = 0; i < 100; ++i) futures.push_back(pool.submit(add_one, sum, lock));
  for (auto& future : futures) future.get();
  EXPECT_EQ(sum.get(), 100);
}

void barrier_of_initializer(mp::Barrier barrier) { barrier.wait(); }
int nothing() { return 1; }

TEST_P(LocksInPools, AsArgumentsOfInitializers) {
  mp::Barrier barrier(2);
  mp::ProcessPoolExecutor pool({.max_workers = 1,
                                .mp_context = context(),
                                .initializer = mp::call(barrier_of_initializer, barrier)});
  mp::Future<int> future = pool.submit(nothing);
  barrier.wait();
  EXPECT_EQ(future.get(), 1);
}

}  // namespace
}  // namespace procession::tests
