// SPDX-License-Identifier: Apache-2.0
// bindings/pool_core: pool/pool as Python's executor sees it: objects in, futures out.
#pragma once

#include <nanobind/nanobind.h>

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "batch.hpp"
#include "future.hpp"
#include "pool/pool.hpp"

namespace procession::bindings {

// How a payload is to be read: of a call, then of a result.
enum class Form : std::uint16_t {
  kArgs,  // pickled positional arguments
  kArgsAndKeywords,
  kAnything,    // pickled (function, arguments, keywords); the call's function id means nothing
  kNone,        // None
  kPlain,       // a pickle that plain unpickling reads
  kObject,      // what procession.worker.dump_result made
  kPlainArgs,   // how many u8, then each as write_plain writes it
  kPlainValue,  // one value so
};

constexpr std::size_t kMostPlainArgs = 32;
constexpr pool::FunctionId kNoFunction = 0;  // named by calls of Form::kAnything

// A call of a map() that was taken back: to be told how it ends.
struct MapCall {
  Batch::Slot* slot;
};

// All methods are called with the GIL held. What goes in is in pool_submit.cpp, what comes out in
// pool_settle.cpp.
class PoolCore {
 public:
  // `support` is the module procession.worker; `future` the class of the futures; `processes` the
  // workers' process objects by pid, as they are at any time.
  PoolCore(const pool::Options& options, nanobind::object support, nanobind::object future,
           nanobind::dict processes, std::size_t max_pending);

  std::vector<int> worker_fds() const { return pool_.worker_fds(); }

  // The future of fn(*args, **kwargs), or None if it takes more than plain pickling.
  nanobind::object submit(nanobind::handle self, nanobind::handle function, nanobind::tuple args,
                          nanobind::dict keywords, const pool::TaskOptions& options = {});

  // The future of function(*args), or nothing, and nothing done, if that is in any way unusual.
  nanobind::object submit_plainly(nanobind::handle self, nanobind::handle function,
                                  std::span<PyObject* const> args);

  // The future of a call that has been pickled as Form::kAnything, with its out-of-band buffers.
  // `name` is what people call the function.
  nanobind::object submit_pickled(nanobind::handle self, nanobind::bytes payload,
                                  nanobind::list buffers, const std::string& name = "",
                                  const pool::TaskOptions& options = {});

  // The list of function(item), or if `star` function(*item), for each item, when all have ended; or
  // what the first of them raised that failed. `by_rule` pickles a call that takes more than plain
  // pickling: of its arguments, it gives a payload, its buffers and a name. Those that were submitted
  // are cancelled if one can't be.
  nanobind::object map(nanobind::object self, nanobind::handle function, nanobind::handle items,
                       bool star, nanobind::callable by_rule);

  // Waits while max_pending tasks have no outcome, if there is such a number. Ends without one when
  // the pool does; in the thread that looks after the pool, and so in callbacks, at once.
  void wait_for_room();

  // Has later submits name `function` by an id: `payload` is how it goes to each worker, once.
  void add_function(nanobind::object function, nanobind::bytes payload);
  bool knows(nanobind::handle function) const;

  // Once the pool has ended: settles and tells what is left, and lets go of all functions. The garbage
  // collector can't see them here, and each keeps the globals of its module.
  void forget();

  std::optional<std::uint32_t> worker_wanted(bool all) { return pool_.worker_wanted(all); }
  void add_worker(std::uint32_t place, int pid, int pidfd);
  void no_worker(std::uint32_t place) { pool_.no_worker(place); }
  void finish() {
    pool_.finish();
    pool_.ring_back();
    if (waiting_for_room_ > 0) wake_all();
  }
  void stop_now() { pool_.stop_now(); }
  nanobind::list cancel_all();

  // The thread that looks after what nobody at the front does: waits, settles, and gives the
  // pids of workers that have ended.
  nanobind::list look_after(double seconds);
  void ring_back() { pool_.ring_back(); }

  std::size_t unfinished() { return pool_.unfinished(); }
  // Also those whose end look_after() hasn't told of.
  std::size_t workers() { return pool_.workers() + losses_.size() + (pool_.has_losses() ? 1 : 0); }
  nanobind::object broken_by() const { return broken_by_; }
  bool is_broken() const { return pool_.is_broken(); }
  bool is_finishing() const { return pool_.is_finishing(); }

  nanobind::tuple stats();
  nanobind::object events(nanobind::object self, std::size_t limit);
  void trace_to(const std::string& path) { pool_.trace_to(path); }
  // Has results looked at as they come, as long as somebody wants that.
  void want_results(bool on);

  // For futures.
  bool wait_for(FutureObject& future, base::Deadline deadline);
  bool is_running(const FutureObject& future) { return pool_.is_assigned(future.task); }
  bool take_back(FutureObject& future, bool running);
  void want_all(FutureObject& future);
  void look();      // settles what has come
  void wake_all();  // has every waiting thread look at its future again

 private:
  nanobind::object make_future(nanobind::handle self);
  template <class Done>
  bool wait_until(pool::TaskId awaited, base::Deadline deadline, Done done);
  template <class Done>
  base::Waited be_at_front(pool::TaskId awaited, base::Deadline deadline, Done done,
                           bool looks_first);
  base::Waited be_behind(base::Deadline deadline);
  void wake_behind();
  void settle(pool::Outcomes& outcomes, bool at_back);
  pool::FunctionId label(const std::string& name);
  bool deliver(pool::Outcomes& outcomes, bool at_back);
  void write_trace();
  bool write_args(std::span<PyObject* const> args);
  std::vector<shm::Block> put_all(const nanobind::list& buffers);
  void submit_in(Batch& batch, std::optional<pool::FunctionId> function,
                 std::span<PyObject* const> args, const nanobind::callable& by_rule);
  void submit_all_in(Batch& batch, nanobind::handle function, nanobind::handle items, bool star,
                     const nanobind::callable& by_rule);
  void settle_one(FutureObject& future, const pool::Outcome& outcome, base::BytesView payload);
  void settle_slot(Batch::Slot& slot, const pool::Outcome& outcome, base::BytesView payload);
  nanobind::object take_value(const nanobind::object& core, const pool::Outcome& outcome,
                              base::BytesView payload, bool& failed);
  nanobind::object result_of(const nanobind::object& core, const pool::Outcome& outcome,
                             base::BytesView payload);
  nanobind::object value_of(const nanobind::object& core, const pool::Outcome& outcome,
                            base::BytesView payload, bool& failed);
  nanobind::object death_of(const pool::Outcome& outcome, base::BytesView payload);
  nanobind::object name_of(std::uint32_t function) const;
  nanobind::list buffers_of(const nanobind::object& core, const pool::Outcome& outcome);
  void finish_future(FutureObject& future, nanobind::object value, bool failed);

  pool::Pool pool_;
  nanobind::object support_;
  nanobind::object future_type_;
  nanobind::dict processes_;
  nanobind::object dumps_;
  nanobind::object loads_;
  std::unordered_map<PyObject*, pool::FunctionId> functions_;   // each with a reference
  std::vector<nanobind::object> names_;                         // of functions, by id
  std::unordered_map<std::string, pool::FunctionId> labels_;    // of calls that name no function
  base::Bytes scratch_;                                         // of a submit
  pool::Outcomes front_outcomes_;                               // of who is at the front
  pool::Outcomes deferred_;                                     // for the thread at the back
  std::deque<std::pair<pool::Message, base::Bytes>> messages_;  // as well
  std::vector<pool::Loss> losses_;
  nanobind::object broken_by_ =
      nanobind::none();  // the first exception of a task that broke with it
  bool front_taken_ = false;
  std::uint32_t waiting_behind_ = 0;  // threads that wait for the front, on `turns_`
  os::FutexWord turns_{0};
  const std::size_t max_pending_;  // or 0
  std::size_t waiting_for_room_ = 0;
  const pid_t owner_;
  std::thread::id back_thread_;
  std::size_t wanting_ = 0;  // futures whose end somebody wants to be told of
};

void bind_pool_core(nanobind::module_& module);

}  // namespace procession::bindings
