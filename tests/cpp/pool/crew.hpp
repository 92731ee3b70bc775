// SPDX-License-Identifier: Apache-2.0
// crew: a pool::Pool with workers that this test program forks, whose calls say what they are to do.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "leftovers.hpp"
#include "pool/pool.hpp"

namespace procession::pool {

using PoolTest = tests::LeavesNothing;

enum class Act : std::uint32_t {
  kEcho,       // returns its number and bytes
  kNothing,    // returns nothing, in no measurable time
  kSpin,       // for `argument` microseconds
  kGrow,       // returns `argument` bytes
  kKill,       // itself, by SIGKILL
  kKillOnce,   // if it's the first in this crew to do so, else echoes
  kExit,       // with `argument`
  kWait,       // says that it began, waits for a byte from pipe `argument`
  kRaise,      // fails
  kDeafWait,   // as kWait, and SIGTERM doesn't end it
  kMakeChild,  // says that it began once a child of it sleeps, deaf if `argument`; sleeps, too
  kTornSend,   // is killed in the middle of writing its result
  kTornRing,   // is killed between marking the front as awake and ringing it
  kCorrupt,    // writes garbage, of kind `argument`, into its result ring; then waits for its end
  kCantBegin,
};

struct Job {
  Act act = Act::kEcho;
  std::uint64_t number = 0;
  std::uint64_t argument = 0;
};

// A pipe whose both ends all workers inherit.
class Gate {
 public:
  Gate();
  void open(int times = 1) const;
  void pass() const;
  std::uint64_t read_end() const { return static_cast<std::uint64_t>(read_.get()); }

 private:
  os::Fd read_;
  os::Fd write_;
};

// What workers and the test count together.
struct Tally {
  std::atomic<std::uint64_t> began{0};
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> kills{0};
  std::atomic<pid_t> child{0};  // of kMakeChild
  std::atomic<std::uint64_t> order{0};
  std::atomic<std::uint64_t> turn[4096];  // in which task number modulo their count began
  std::atomic<std::uint32_t> runs[4096];  // of task number modulo their count
};

struct Ending {
  int count = 0;
  OutcomeKind kind = OutcomeKind::kResult;
  bool right = false;  // the payload was the right one
  std::shared_ptr<const Death> death;
};

class Crew {
 public:
  // `all`: max_workers are started whatever there is to do.
  explicit Crew(const Options& options, bool all = true, bool wants_all = true);
  ~Crew();  // finishes

  std::uint64_t submit(Act act, std::uint64_t argument = 0, std::size_t bytes = 0,
                       const TaskOptions& options = {});
  // Later submits name this function, whose bytes a worker gets ahead of the first of them.
  void use_function(std::size_t bytes);
  TaskId id(std::uint64_t number);
  bool cancel(std::uint64_t number, bool running = false);
  std::size_t cancel_all();

  // Wait.
  Ending ending(std::uint64_t number);
  void all_ended();
  void workers_are(std::size_t count);
  void began(std::uint64_t count) const;
  void sent(std::uint64_t count) const;

  void kill(std::size_t which);
  void kill_all();
  // Tells the workers to end and waits for it. Looks that each task has ended once.
  void finish();

  Ending now(std::uint64_t number);
  std::size_t ended();
  std::size_t count(OutcomeKind kind);
  std::vector<Loss> losses();
  std::vector<pid_t> pids();
  void hold(bool on);               // the supervisor, once it has come back from its wait
  void settle(Outcomes& outcomes);  // what a thread at the front has collected

  std::size_t given_at_once() const { return given_at_once_; }  // by Pool::submit_at_once
  Pool& pool() { return pool_; }
  Tally& tally() { return *tally_; }

 private:
  TaskId submit_usual(base::BytesView payload, void* future);
  void supervise();
  void start(std::uint32_t place);
  [[noreturn]] void work(std::uint32_t place);

  Pool pool_;
  const bool all_;
  Tally* tally_;
  FunctionId function_;
  std::atomic<std::size_t> given_at_once_ = 0;
  // Held by who allocates: a sanitizer's allocator is not to be locked in a copy of the process.
  std::mutex no_fork_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Ending> endings_;
  std::vector<TaskId> ids_;
  std::vector<Job> jobs_;
  std::size_t ended_ = 0;
  std::map<std::uint32_t, pid_t> workers_;
  std::vector<Loss> losses_;
  std::vector<Loss> to_reap_;
  bool hold_ = false;
  bool finished_ = false;
  std::thread supervisor_;
};

}  // namespace procession::pool
