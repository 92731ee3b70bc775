// SPDX-License-Identifier: Apache-2.0
#include "pool/pool.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace procession::pool {

namespace {

// Of memory for outcomes, which stays for the next ones.
constexpr std::size_t kLargestKept = 1 << 20;
constexpr std::size_t kMostKept = 1 << 14;

}  // namespace

void Outcomes::clear() noexcept {
  messages.clear();
  ended.clear();
  losses.clear();
  bytes.clear();
  settled = 0;
  if (bytes.capacity() > kLargestKept) bytes = {};
  if (ended.capacity() > kMostKept) ended = {};
}

void Outcomes::make_room(std::size_t count, std::size_t size) {
  auto grow = [](auto& vector, std::size_t by) {
    std::size_t needed = vector.size() + by;
    if (needed > vector.capacity()) vector.reserve(std::max(needed, 2 * vector.capacity()));
  };
  grow(ended, count);
  grow(bytes, count * size);
}

Pool::Pool(const Options& options)
    : options_(options),
      board_(options.max_workers, options.ring_size, options.max_rss),
      arena_(shm::Arena::create()),
      front_(os::create_event()),
      back_(os::create_event()),
      tasks_(options.on_death, options.retries),
      places_(options.max_workers),
      ended_(std::make_unique<std::atomic<bool>[]>(options.max_workers)),
      cpus_(static_cast<std::uint32_t>(os::usable_cpus())) {
  front_set_.add_event(front_);
  back_set_.add_event(back_);
}

std::vector<int> Pool::worker_fds() const {
  return {board_.fd().get(), front_.get(), back_.get(), arena_.memory().get()};
}

// --- submit

FunctionId Pool::add_function(base::Bytes bytes, std::string name) {
  Hold hold(*this);
  functions_.push_back({std::move(bytes), 0, std::move(name)});
  return static_cast<FunctionId>(functions_.size() - 1);
}

shm::Block Pool::put(base::BytesView bytes) {
  shm::Block block;
  {
    std::lock_guard lock(arena_mutex_);
    block = arena_.allocate(bytes.size());
  }
  shm::copy(arena_.bytes(block), bytes);
  return block;
}

void Pool::release(shm::Block block) {
  try {
    arena_.release(block.offset);
  } catch (const std::runtime_error&) {  // its holder died, and it went with it
  }
}

TaskId Pool::submit(FunctionId function, std::uint16_t form, base::BytesView payload,
                    void* future) {
  if (payload.size() > kLargestInline) return submit(function, form, payload, future, {}, {});
  WorkerBoard* first = nullptr;
  TaskId task = kNoTask;
  {
    std::lock_guard lock(mutex_);
    if (quick_.run) {
      task = submit_to_run(function, form, payload, future);
      if (task != kNoTask) return task;
      end_run();
    }
    task = submit_locked(function, form, payload, future, {}, false, {}, first);
  }
  if (first) give_way_to(*first);
  return task;
}

TaskId Pool::submit_to_run(FunctionId function, std::uint16_t form, base::BytesView payload,
                           void* future) noexcept {
  Run* run = run_for(function, form, payload);
  if (!run) return kNoTask;
  shm::RingWriter& calls = quick_.place->calls;
  TaskId first = run->next_id();
  bool is_written = run->count == 0 ? write_plain_call(calls, first, function, form, payload)
                                    : write_next_call(calls, payload);
  if (!is_written) return kNoTask;
  TaskId task = run->add(future, payload);
  wake(*quick_.worker);
  return task;
}

TaskId Pool::submit(FunctionId function, std::uint16_t form, base::BytesView payload, void* future,
                    std::vector<shm::Block> blocks, const TaskOptions& options) {
  bool spilled = payload.size() > kLargestInline;
  if (spilled) {
    blocks.insert(blocks.begin(), put(payload));
    payload = {};
  }
  WorkerBoard* first = nullptr;
  TaskId task = kNoTask;
  {
    Hold hold(*this);
    task =
        submit_locked(function, form, payload, future, std::move(blocks), spilled, options, first);
  }
  if (first) give_way_to(*first);
  return task;
}

TaskId Pool::submit_locked(FunctionId function, std::uint16_t form, base::BytesView payload,
                           void* future, std::vector<shm::Block> blocks, bool spilled,
                           const TaskOptions& options, WorkerBoard*& first) {
  if (closed_) {
    if (spilled) release(blocks.front());
    return kNoTask;
  }
  std::uint32_t slot = tasks_.add();
  Task& task = tasks_[slot];
  try {
    task.payload.assign(payload.begin(), payload.end());
  } catch (...) {
    tasks_.remove(slot);
    if (spilled) release(blocks.front());
    throw;
  }
  task.assigned = false;
  task.future = future;
  task.function = function;
  task.form = form;
  task.timeout = options.timeout.value_or(options_.timeout);
  task.priority = options.priority;
  task.retries = options.retries.value_or(options_.retries);
  task.on_death = options.on_death.value_or(options_.on_death);
  task.has_more = true;
  task.spilled = spilled;
  task.blocks = std::move(blocks);
  task.number = submits_++;
  ++unfinished_;
  bool is_lone = was_waited_for_.load(std::memory_order_relaxed);  // as the one before it was
  if (is_lone) was_waited_for_.store(false, std::memory_order_relaxed);
  if (recorder_) recorder_->queued(slot, task.number, function);
  TaskId id = id_of(slot);
  if (broken_) {
    Outcome outcome = broken_by_;
    outcome.begin = outcomes_.bytes.size();
    outcomes_.bytes.insert(outcomes_.bytes.end(), broken_by_bytes_.begin(), broken_by_bytes_.end());
    end(slot, std::move(outcome));
    has_outcomes_.store(true, std::memory_order_release);
    has_unsettled_.store(true, std::memory_order_release);
    ring_back();
    ring_front_if_asleep();
    return id;
  }
  if (task.priority == 0 && nothing_ready() && give_at_once(id)) {
    Place& place = place_of(task);
    // What is under way, and its outcomes, stay in the cache if there is little of it.
    if (place.assigned.size() >= std::size_t{2} * kMostUnpumped) pump_after_submit();
    if (place.assigned.size() >= 2) begin_run(place, function, form, payload.size());
    if (is_lone && goes_first(place, function)) first = &board_.worker(index_of(place));
    return id;
  }
  queue_of(task).push_back(id);
  unpumped_.store(unpumped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (ready_.size() == 1 || task.priority != 0 || unpumped_ == kMostUnpumped) pump_after_submit();
  return id;
}

// The task is the pool's by now, whatever there was no memory for.
void Pool::pump_after_submit() noexcept {
  try {
    pump_for_others();
  } catch (...) {
    ring_back();  // who is there tries it again, and says so if it fails again
  }
}

// `kept`: those that the worker holds on to, counted without one that is the payload.
void Pool::release_blocks(Task& task, std::uint64_t kept) {
  std::size_t skipped = task.spilled ? 1 : 0;
  for (std::size_t i = 0; i < task.blocks.size(); ++i) {
    bool is_kept = i >= skipped && i - skipped < 64 && (kept >> (i - skipped) & 1);
    if (!is_kept) release(task.blocks[i]);
  }
  task.blocks.clear();
}

void Pool::erase(std::uint32_t slot) noexcept {
  release_blocks(tasks_[slot], 0);
  tasks_.remove(slot);
  --unfinished_;
}

bool Pool::is_assigned(TaskId id) {
  Hold hold(*this);
  if (place_with(id)) return true;
  Task* task = find(id);
  return task && task->assigned;
}

void* Pool::cancel(TaskId id, bool running) {
  Hold hold(*this);
  if (Place* place = place_with(id)) {
    if (!running) return nullptr;
    unfold(*place);
  }
  Task* task = find(id);
  if (!task) return nullptr;
  if (task->assigned && !running) return nullptr;
  if (task->assigned && !stop_running(slot_of(id))) {
    pump_for_others();  // it may have taken back others, and taken in results
    return nullptr;
  }
  void* future = task->future;
  std::uint32_t slot = slot_of(id);
  ++counters_.cancelled;
  if (recorder_) recorder_->ended(slot, EventKind::kCancelled, 0);
  erase(slot);  // its id in ready_ is skipped
  if (running) pump_for_others();
  return future;
}

std::vector<void*> Pool::cancel_all() {
  Hold hold(*this);
  std::vector<void*> futures;
  while (std::deque<TaskId>* queue = next_queue()) {
    std::uint32_t slot = slot_of(queue->front());
    futures.push_back(tasks_[slot].future);
    queue->pop_front();
    ++counters_.cancelled;
    if (recorder_) recorder_->ended(slot, EventKind::kCancelled, 0);
    erase(slot);
  }
  return futures;
}

// --- workers come

std::optional<std::uint32_t> Pool::worker_wanted(bool all) {
  Hold hold(*this);
  if (broken_ || (finishing_ && unfinished_ == 0)) return std::nullopt;
  std::size_t live = 0;
  std::optional<std::uint32_t> place;
  for (std::uint32_t i = 0; i < places_.size(); ++i) {
    State state = places_[i].state;
    if (state == State::kStarting || state == State::kThere) ++live;
    if (state == State::kNone && !place) place = i;
  }
  if (!place || (live >= unfinished_ && !all)) return std::nullopt;
  places_[*place].state = State::kStarting;
  if (recorder_) recorder_->worker_wanted(*place);
  return place;
}

void Pool::add_worker(std::uint32_t index, pid_t pid, os::Fd pidfd) {
  Hold hold(*this);
  Place& place = places_[index];
  place.state = State::kThere;
  place.pid = pid;
  place.pidfd = std::move(pidfd);
  place.calls = shm::RingWriter(board_.calls(index));
  place.results = shm::RingReader(board_.results(index));
  if (present_ <= index) present_ = index + 1;
  ++counters_.workers_started;
  if (recorder_) recorder_->worker_started(index, pid);
  front_set_.add(place.pidfd.get(), index);
  back_set_.add(place.pidfd.get(), index);
  if (broken_) {
    place.state = State::kEnding;
    os::send_signal(place.pidfd, os::kTerminate);
  }
  pump_for_others();
}

void Pool::no_worker(std::uint32_t index) {
  Hold hold(*this);
  places_[index].state = State::kNone;
  board_.reset(index);
}

void Pool::close() {
  Hold hold(*this);
  closed_ = true;
}

void Pool::finish() {
  Hold hold(*this);
  finishing_ = true;
  pump_for_others();
}

std::uint32_t Pool::index_of(const Place& place) const noexcept {
  return static_cast<std::uint32_t>(&place - places_.data());
}
std::size_t Pool::unfinished() {
  Hold hold(*this);
  return unfinished_;
}

std::size_t Pool::workers() {
  Hold hold(*this);
  return static_cast<std::size_t>(
      std::count_if(places_.begin(), places_.end(),
                    [](const Place& place) { return place.state != State::kNone; }) +
      (doomed_.empty() ? 0 : 1));
}

}  // namespace procession::pool
