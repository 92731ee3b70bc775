// SPDX-License-Identifier: Apache-2.0
#include "api/pool_worker.hpp"

#include <cxxabi.h>

#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "api/bytes.hpp"
#include "api/failure.hpp"
#include "api/pool_core.hpp"
#include "base/error.hpp"
#include "os/fd.hpp"
#include "pool/events.hpp"
#include "pool/worker.hpp"
#include "procession/error.hpp"

namespace procession::api {

namespace {

constexpr int kUnmeasured = 31;  // calls after a short one

class PoolWorker final : public BlockSource {
 public:
  PoolWorker(std::vector<os::Fd> fds, std::uint32_t place)
      : worker_(std::move(fds.at(0)), place, std::move(fds.at(1)), std::move(fds.at(2)),
                std::move(fds.at(3))),
        in_(std::make_unique<detail::Incoming::State>()) {
    writer_.begin(*this);
    out_.state().be_for_task(writer_);
  }

  // `initialize` is the initializer, or does nothing.
  void run(const std::function<void()>& initialize) {
    try {
      initialize();
    } catch (const abi::__forced_unwind&) {  // pthread_exit
      throw;
    } catch (...) {
      channel::PayloadReader failure(encode_failure(std::current_exception()));
      worker_.reply({pool::kNoTask, pool::ResultKind::kCantBegin}, failure.bytes());
      return;
    }
    worker_.say_ready();
    const std::function<void(bool)> on_sleep = [](bool) {};
    const std::function<void()> on_interrupt = [] {};
    pool::Call call;
    while (worker_.next(call, on_sleep, on_interrupt)) {
      if (call.header.kind == pool::CallKind::kFunction) {
        learn(call);
      } else {
        work(call);
      }
    }
  }

  shm::Block put(base::BytesView bytes) override {
    shm::Block block = worker_.arena().allocate(bytes.size());
    shm::copy(worker_.arena().bytes(block), bytes);
    return block;
  }
  void drop(shm::Block block) noexcept override {
    try {
      worker_.arena().release(block.offset);
    } catch (const std::runtime_error&) {  // it is gone
    }
  }

 private:
  struct Function {
    base::Bytes bytes;
    std::unique_ptr<detail::TaskFunction> loaded;
    int unmeasured = 0;  // calls to come that are not measured
  };

  void learn(const pool::Call& call) {
    if (functions_.size() <= call.header.function) functions_.resize(call.header.function + 1);
    functions_[call.header.function].bytes.assign(call.payload.begin(), call.payload.end());
  }

  static void load(Function& function) {
    auto state = std::make_unique<detail::Incoming::State>();
    state->show(function.bytes, {});
    detail::Incoming in(std::move(state));
    auto load = reinterpret_cast<detail::TaskFunction::Loader>(in.function());
    function.loaded = load(in);
    function.bytes = {};
  }

  // A function is loaded when it is first called: what that throws belongs to a call.
  void call_function(Function& function, const pool::Call& call) {
    contents_.clear();
    for (shm::Block block : call.blocks) contents_.emplace_back(worker_.arena().bytes(block));
    if (!function.loaded) load(function);
    in_.state().show(call.payload, contents_);
    function.loaded->run(in_, out_);
  }

  void work(const pool::Call& call) {
    pool::TaskId task = call.header.task;
    pool::CallTimes times;
    Function& function = functions_.at(call.header.function);
    bool measures = function.unmeasured == 0 || worker_.wants_times();
    if (measures) times.began = pool::now_ns();
    std::exception_ptr thrown;
    try {
      call_function(function, call);
    } catch (const abi::__forced_unwind&) {  // pthread_exit
      throw;
    } catch (const base::OsError& error) {
      thrown = std::make_exception_ptr(
          OsError(error.error_number(), "can't send a task's result: " + error.attempted()));
    } catch (...) {
      thrown = std::current_exception();
    }
    if (measures) {
      times.nanoseconds = std::max<std::int64_t>(pool::now_ns() - times.began, 1);
      if (times.nanoseconds < pool::kShortNs) function.unmeasured = kUnmeasured;
    } else {
      --function.unmeasured;
    }
    if (thrown) {
      writer_.clear();
      fail(task, times, thrown);
      return;
    }
    if (writer_.is_empty()) {
      worker_.reply(task, times, 0, {});
      return;
    }
    const base::Bytes& payload = writer_.payload();
    if (writer_.is_small()) {
      worker_.reply(task, times, 0, payload);
      writer_.clear();
      return;
    }
    try {
      pool::ResultHeader header{task};
      header.began = times.began;
      header.nanoseconds = times.nanoseconds;
      worker_.reply(header, payload, writer_.take_blocks());
    } catch (const base::OsError& error) {  // no block for the payload
      fail(task, times,
           std::make_exception_ptr(
               OsError(error.error_number(), "can't send a task's result: " + error.attempted())));
    }
    writer_.clear();
  }

  void fail(pool::TaskId task, const pool::CallTimes& times, const std::exception_ptr& thrown) {
    channel::PayloadReader failure(encode_failure(thrown));
    pool::ResultHeader header{task, pool::ResultKind::kFailure};
    header.began = times.began;
    header.nanoseconds = times.nanoseconds;
    worker_.reply(header, failure.bytes());
  }

  pool::Worker worker_;
  TaskWriter writer_;
  detail::Outgoing out_;
  detail::Incoming in_;
  std::vector<base::BytesView> contents_;
  std::vector<Function> functions_;
};

using Initializer = std::shared_ptr<const detail::Call>;

class WorkerCall final : public detail::Call {
 public:
  WorkerCall(std::vector<int> fds, std::uint32_t place, Initializer initializer)
      : fds_(std::move(fds)), place_(place), initializer_(std::move(initializer)) {}

  void run() override {
    std::vector<os::Fd> fds;
    for (int fd : fds_) fds.push_back(os::duplicate(fd));
    PoolWorker worker(std::move(fds), place_);
    worker.run([this] {
      // This process's own copy.
      if (initializer_) std::const_pointer_cast<detail::Call>(initializer_)->run();
    });
  }

  Reader reader() const override {
    return initializer_ && !initializer_->reader() ? nullptr : &read_and_run;
  }

  void encode(detail::Outgoing& out) const override {
    for (int fd : fds_) out.descriptor(fd);
    out.write(&place_, sizeof place_);
    bool initializes = initializer_ != nullptr;
    out.write(&initializes, sizeof initializes);
    if (!initializes) return;
    out.function(reinterpret_cast<detail::AnyFunction>(initializer_->reader()));
    initializer_->encode(out);
  }

  const char* obstacle() const override { return "the initializer has state that can't be sent"; }

 private:
  static void read_and_run(detail::Incoming& in) {
    std::vector<os::Fd> fds;
    for (int i = 0; i < 4; ++i) fds.emplace_back(in.descriptor());
    std::uint32_t place = 0;
    in.read(&place, sizeof place);
    bool initializes = false;
    in.read(&initializes, sizeof initializes);
    PoolWorker worker(std::move(fds), place);
    worker.run([&] {
      if (initializes) reinterpret_cast<Reader>(in.function())(in);
    });
  }

  std::vector<int> fds_;
  std::uint32_t place_;
  Initializer initializer_;
};

}  // namespace

std::unique_ptr<detail::Call> make_worker_call(const PoolCore& core, std::uint32_t place) {
  return std::make_unique<WorkerCall>(core.worker_fds(), place, core.initializer());
}

}  // namespace procession::api
