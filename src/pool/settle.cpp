// SPDX-License-Identifier: Apache-2.0
// pool/settle: what a result, or a worker's death, means for tasks.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "pool/pool.hpp"

namespace procession::pool {

namespace {

// A task that has killed its worker so often is not tried again, whatever `retries` says.
constexpr std::uint32_t kMostDeaths = 3;
constexpr std::uint32_t kMostFailedStarts = 10;

}  // namespace

// Has what a worker answers be the first call that it was given: those before it have ended, and gave
// nothing. The run that it is of, or null; std::runtime_error if it isn't there.
inline const Run* Pool::await(Place& place, TaskId id) {
  auto is_first = [&] {
    if (const Run* run = place.assigned.front_run()) return run->next_id() == id;
    return !place.assigned.empty() && id_of(place.assigned.front_slot()) == id;
  };
  if (!is_first()) {
    std::uint64_t ended = board_.worker(index_of(place)).ended.load(std::memory_order_acquire);
    while (!is_first() && !place.assigned.empty() && place.assigned.front_index() < ended) {
      take_nothings(place, ended, 1);
    }
    if (!is_first()) throw std::runtime_error("procession: a result that nobody asked for");
  }
  return place.assigned.front_run();
}

// Of calls of one function that were expected to take so many ns each. They took so many, or 0: about as
// many as others of it.
inline void Pool::note_answers(Place& place, FunctionId function, std::uint32_t calls,
                               std::uint64_t expected, std::uint64_t took) noexcept {
  place.assigned.pop_front(calls);
  place.expected -= calls * expected;
  place.done += calls;
  Function& known = functions_[function];
  place.busy += calls * (took > 0 ? took : known.average);
  if (took == 0 && known.average == 0) took = kShortNs / 2;  // its sample was another's, too soon
  if (took > 0) known.note(took);
  if (place.assigned.empty()) begin_to_idle(place);
}

void Pool::note_sample(Place& place, std::uint64_t word) noexcept {
  if (std::exchange(place.sample, word) == word) return;
  auto sample = Sample::of(word);
  if (sample.ns == 0 || sample.function >= functions_.size()) return;
  functions_[sample.function].note(sample.ns);
}

// Lets go of what a worker has sent that is not to be trusted.
void Pool::abandon_results(Place& place) noexcept {
  place.results.abandon();
  WorkerBoard& worker = board_.worker(index_of(place));
  worker.ended_seen.store(worker.ended.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

void Pool::take_results(std::uint32_t index) {
  Place& place = places_[index];
  WorkerBoard& worker = board_.worker(index);
  if (place.corrupted) {
    abandon_results(place);
    return;
  }
  if (worker.has_told.load(std::memory_order_relaxed)) worker.has_told.exchange(0);
  std::uint64_t done = place.done;
  std::uint64_t ended = worker.ended.load(std::memory_order_acquire);  // ahead of looks at records
  note_sample(place, worker.sample.load(std::memory_order_relaxed));
  try {
    while (std::optional<base::BytesView> record = place.results.peek()) {
      if (!take_plain_result(place, *record)) take_result(place, *record);
      place.results.pop();
    }
    take_nothings(place, ended, place.assigned.size());
    worker.ended_seen.store(ended, std::memory_order_relaxed);
  } catch (const std::runtime_error&) {  // its memory is corrupted: it is not to be trusted
    place.corrupted = true;
    abandon_results(place);
    os::send_signal(place.pidfd, os::kKill);
    return;
  }
  done = place.done - done;
  results_.store(results_.load(std::memory_order_relaxed) + done, std::memory_order_relaxed);
  if (worker.wants_room.load(std::memory_order_relaxed) && worker.wants_room.exchange(0)) {
    wake(index);
    worker.room.fetch_add(1);
    os::futex_wake(worker.room, 1 << 20);
  }
}

void Pool::take_result(Place& place, base::BytesView record) {
  ResultHeader header;
  RecordRest rest = read_record(record, header);
  base::BytesView payload = rest.payload;
  std::vector<shm::Block> blocks = rest.copied_blocks();
  for (shm::Block block : blocks) arena_.hand_over(block, arena_.party());
  if (header.kind == ResultKind::kReady) {
    place.ready = true;
    place.free_since = header.began;
    failed_starts_ = 0;
    begin_to_idle(place);
    if (recorder_) recorder_->worker_ready(index_of(place), place.pid, header.began);
    return;
  }
  if (header.kind == ResultKind::kMessage) {
    take_message(place, header, payload, blocks);
    return;
  }
  if (broken_ || place.stopped) {
    for (shm::Block block : blocks) release(block);
    for (std::size_t i = 0; i < place.orphans.size() && i < 64; ++i) {
      if (header.kept >> i & 1) place.orphans[i].size = 0;
    }
    return;
  }
  if (header.kind == ResultKind::kCantBegin) {
    break_by_initializer(place, header, payload, blocks);
    return;
  }
  if (await(place, header.task)) unfold(place);
  answer(place, header, payload, std::move(blocks));
}

// Settles the first task that a worker was given, which is one of the ledger.
void Pool::answer(Place& place, ResultHeader& header, base::BytesView payload,
                  std::vector<shm::Block> blocks) {
  std::uint32_t slot = place.assigned.front_slot();
  Task& task = tasks_[slot];
  std::int64_t took = header.nanoseconds;
  note_answers(place, task.function, 1, task.expected, static_cast<std::uint64_t>(took));
  if (place.timed) {
    place.timed = false;
    place.act_at = kNever;
  }
  bool failed = header.kind == ResultKind::kFailure;
  if (recorder_) {
    // What was under way when somebody began to listen doesn't say.
    if (header.began == 0) header.began = now_ns() - took;
    place.free_since = header.began + took;
    recorder_->answered(slot, failed, header.began, took);
  }
  Outcome& outcome = add_outcome(header.form, payload);
  if (failed) outcome.kind = OutcomeKind::kFailure;
  if (!blocks.empty()) {
    outcome.spilled = header.spilled != 0;
    outcome.more = std::make_shared<Outcome::More>(Outcome::More{std::move(blocks), nullptr});
  }
  release_blocks(task, header.kept);
  end_as(slot, outcome);
  if (header.retires) retire(place);
}

// A result without anything else to say, of a task without anything to see to.
bool Pool::take_plain_result(Place& place, base::BytesView record) {
  std::optional<wire::Short> head = plain_head(record, ResultKind::kResult);
  if (!head || broken_ || place.stopped) return false;
  base::BytesView payload = record.subspan(sizeof *head);
  if (await(place, head->task)) {
    answer_run(place, 1, head->word, head->form, payload);
    return true;
  }
  return answer_quickly(place, head->word, head->form, payload);
}

// The first task that a worker was given, which is one of the ledger. False if there is more to see to.
inline bool Pool::answer_quickly(Place& place, std::uint64_t took, std::uint16_t form,
                                 base::BytesView payload) {
  std::uint32_t slot = place.assigned.front_slot();
  Task& task = tasks_[slot];
  if (place.timed || recorder_ || (task.has_more && !task.blocks.empty())) return false;
  settle({&task.future, 1}, task.function, form, payload);
  note_answers(place, task.function, 1, task.expected, took);
  tasks_.remove(slot);
  return true;
}

// The first calls that a worker was given, which are of a run.
inline void Pool::answer_run(Place& place, std::uint32_t calls, std::uint64_t took,
                             std::uint16_t form, base::BytesView payload) {
  const Run& run = *place.assigned.front_run();
  FunctionId function = run.function;
  settle(std::span(run.futures).subspan(run.answered, calls), function, form, payload);
  note_answers(place, function, calls, run.expected, took);
}

// Ends tasks as they usually do. std::bad_alloc before any of them has ended.
inline void Pool::settle(std::span<void* const> futures, FunctionId function, std::uint16_t form,
                         base::BytesView payload) {
  outcomes_.make_room(futures.size(), payload.size());
  counters_.done += futures.size();
  unfinished_ -= futures.size();
  while (!futures.empty()) {
    std::size_t settled = options_.settle ? options_.settle(futures, payload) : 0;
    outcomes_.settled += settled;
    futures = futures.subspan(settled);
    if (futures.empty()) return;
    Outcome& outcome = add_outcome(form, payload);
    outcome.future = futures.front();
    outcome.function = function;
    futures = futures.subspan(1);
  }
}

// The calls up to `ended` that have no record gave nothing, and took about as long as others: the first
// so many of them.
void Pool::take_nothings(Place& place, std::uint64_t ended, std::uint64_t most) {
  if (ended > place.sent) {
    throw std::runtime_error("procession: a call has ended that wasn't sent");
  }
  while (most > 0 && !place.assigned.empty() && place.assigned.front_index() < ended) {
    std::uint64_t calls = 1;
    if (const Run* run = place.assigned.front_run()) {
      calls = std::min<std::uint64_t>({most, run->left(), ended - run->next_index()});
      answer_run(place, static_cast<std::uint32_t>(calls), 0, 0, {});
    } else if (!answer_quickly(place, 0, 0, {})) {
      ResultHeader nothing;
      answer(place, nothing, {}, {});
    }
    most -= calls;
  }
}

// Made where it stays: there may be millions a second.
Outcome& Pool::add_outcome(std::uint16_t form, base::BytesView payload) {
  std::size_t begin = outcomes_.bytes.size();
  if (!payload.empty()) {
    outcomes_.bytes.insert(outcomes_.bytes.end(), payload.begin(), payload.end());
  }
  Outcome& outcome = outcomes_.ended.emplace_back();
  outcome.form = form;
  outcome.begin = begin;
  outcome.size = payload.size();
  return outcome;
}

// Many outcomes share what it raised, so that can't stay in a block.
void Pool::break_by_initializer(Place& place, const ResultHeader& header, base::BytesView payload,
                                const std::vector<shm::Block>& blocks) {
  Outcome outcome;
  outcome.form = header.form;
  outcome.kind = OutcomeKind::kBroken;
  if (header.spilled != 0 && !blocks.empty()) payload = arena_.bytes(blocks.front());
  outcome.begin = outcomes_.bytes.size();
  outcome.size = payload.size();
  outcomes_.bytes.insert(outcomes_.bytes.end(), payload.begin(), payload.end());
  for (shm::Block block : blocks) release(block);
  place.state = State::kEnding;
  break_all(outcome, &place);
}

void Pool::begin_to_idle(Place& place) noexcept {
  if (options_.idle_timeout == kForever) return;
  place.idle_since = os::coarse_now();
  act_by(place.idle_since + options_.idle_timeout);
}

// Not to be trusted, as nothing that a worker says; but it changes nothing here.
void Pool::take_message(const Place& place, const ResultHeader& header, base::BytesView payload,
                        const std::vector<shm::Block>& blocks) {
  Message message;
  message.form = header.form;
  message.place = index_of(place);
  message.pid = place.pid;
  if (const Run* run = place.assigned.run_of(header.task)) {
    message.task = header.task & ~kOfRun;
    message.function = run->function;
  } else if (const Task* task = find(header.task)) {
    message.task = task->number;
    message.function = task->function;
  }
  if (header.spilled && !blocks.empty()) payload = arena_.bytes(blocks.front());
  message.begin = outcomes_.bytes.size();
  message.size = payload.size();
  outcomes_.bytes.insert(outcomes_.bytes.end(), payload.begin(), payload.end());
  outcomes_.messages.push_back(message);
  for (shm::Block block : blocks) release(block);
}

void Pool::heard(const Message& message) {
  Hold hold(*this);
  if (places_[message.place].pid != message.pid) return;  // it has ended since
  WorkerBoard& worker = board_.worker(message.place);
  worker.heard.fetch_add(weight_of_message(message.size), std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (worker.waits_to_be_heard.load(std::memory_order_relaxed) &&
      worker.waits_to_be_heard.exchange(0, std::memory_order_relaxed)) {
    os::futex_wake(worker.heard, 1 << 20);
  }
}

void Pool::end(std::uint32_t slot, Outcome outcome) {
  end_as(slot, outcomes_.ended.emplace_back(std::move(outcome)));
}

// `outcome` is among those that are to be collected.
void Pool::end_as(std::uint32_t slot, Outcome& outcome) {
  Task& task = tasks_[slot];
  bool died = outcome.kind == OutcomeKind::kDied || outcome.was_begun;
  if (outcome.kind == OutcomeKind::kResult) ++counters_.done;
  if (outcome.kind == OutcomeKind::kFailure) ++counters_.failed;
  if (died) ++counters_.died;
  if (outcome.kind == OutcomeKind::kBroken && !died) ++counters_.broken;
  bool timed_out = outcome.kind == OutcomeKind::kTimedOut;
  if (timed_out) ++counters_.timed_out;
  if (recorder_) {  // those with an answer have been told of
    EventKind kind = timed_out ? EventKind::kTimedOut : EventKind::kBroken;
    recorder_->ended(slot, died ? EventKind::kDied : kind,
                     outcome.death() ? outcome.death()->status.value() : 0);
  }
  outcome.future = task.future;
  outcome.function = task.function;
  erase(slot);
}

void Pool::break_all(const Outcome& reason, const Place* ending) {
  broken_ = true;
  broken_by_ = reason;
  auto begin = outcomes_.bytes.begin() + static_cast<std::ptrdiff_t>(reason.begin);
  broken_by_bytes_.assign(begin, begin + static_cast<std::ptrdiff_t>(reason.size));
  for (Place& place : places_) unfold(place);
  ready_.clear();
  ranked_.clear();
  for (Place& place : places_) {
    if (place.timed) place.act_at = kNever;
    place.timed = false;
    place.assigned.clear();
    place.expected = 0;
    bool ends_by_itself = &place == ending;
    if (place.state == State::kThere) place.state = State::kEnding;
    if (place.pidfd.valid() && !ends_by_itself) os::send_signal(place.pidfd, os::kTerminate);
  }
  for (std::uint32_t slot = 0; slot < tasks_.size(); ++slot) {
    if (tasks_[slot].live) end(slot, reason);
  }
}

// --- supervise

void Pool::note_ends(const std::vector<std::uint64_t>& ready) {
  for (std::uint64_t key : ready) {
    if (key == kNoPlace) continue;
    Hold hold(*this);
    Place& place = places_[key];
    // Another thread may have been told the same, and the place have a new holder since.
    if (!place.pidfd.valid() || !os::peek_status(place.pidfd)) continue;
    front_set_.remove(place.pidfd.get());
    back_set_.remove(place.pidfd.get());
    if (!ended_[key].exchange(true)) ++endings_;
  }
}

void Pool::supervise(std::uint32_t index) {
  Place& place = places_[index];
  take_results(index);  // what it had still sent counts
  unfold(place);
  os::Exit exit = os::peek_exit(place.pidfd).value_or(os::Exit{os::kStatusLost, {}});
  Death death{place.pid, exit.status, {}, {}, {}};
  bool expected = place.stopped || (place.state == State::kEnding && place.assigned.empty() &&
                                    death.status == os::ExitStatus{});
  outcomes_.losses.push_back({index, death, expected});
  if (!broken_ && !expected && !stopping_) ++counters_.workers_died;
  if (recorder_) recorder_->worker_ended(index, place.pid, death.status.value());
  if (!broken_ && !expected) {
    if (!place.ready && place.done == 0) ++failed_starts_;
    death.more = std::make_shared<const Circumstances>(circumstances_of(board_.words(index), exit));
    if (auto slot = begun(place)) death.function = tasks_[*slot].function;
    settle_death(place, death);
  }
  requeue(place, 0);
  {
    std::lock_guard lock(arena_mutex_);
    release_orphans(place);
    arena_.reclaim(static_cast<int>(index) + 1);
  }
  board_.reset(index);
  place = Place{};
  // It may have been killed between marking the front as awake and ringing it.
  if (board_.parent().front_present.load(std::memory_order_relaxed)) os::ring(front_);
}

// The task that a worker has begun and not ended, if there is one.
std::optional<std::uint32_t> Pool::begun(const Place& place) const noexcept {
  std::uint64_t begun = board_.worker(index_of(place)).claimed.load(std::memory_order_acquire);
  if (place.assigned.empty()) return std::nullopt;
  if (place.assigned.front_index() >= begun && !place.corrupted) return std::nullopt;
  return place.assigned.front_slot();
}

void Pool::settle_death(Place& place, const Death& death) {
  Outcome outcome;
  // That of the task that it was in, or that it would have begun with.
  OnDeath on_death =
      place.assigned.empty() ? options_.on_death : tasks_[place.assigned.front_slot()].on_death;
  if (stopping_) on_death = OnDeath::kBreak;
  outcome.more = more_of(death);
  bool never_begins = failed_starts_ >= kMostFailedStarts;
  std::optional<std::uint32_t> given = begun(place);
  if (recorder_ && given) recorder_->started(*given, place.free_since);
  if (never_begins || (on_death == OnDeath::kBreak && place.state != State::kEnding) ||
      (on_death == OnDeath::kBreak && !place.assigned.empty())) {
    outcome.kind = OutcomeKind::kBroken;
    if (given) {
      Outcome own = outcome;
      own.was_begun = true;
      end(*given, std::move(own));
    }
    break_all(outcome);
    return;
  }
  if (!given) return;
  std::uint32_t slot = *given;
  Task& task = tasks_[slot];
  ++task.deaths;
  task.has_more = true;
  if (on_death == OnDeath::kRetry && task.deaths <= task.retries && task.deaths < kMostDeaths) {
    for (shm::Block block : task.blocks) arena_.hand_over(block, arena_.party());
    return;  // put back with the others
  }
  place.assigned.pop_front();
  place.expected -= task.expected;
  outcome.kind = OutcomeKind::kDied;
  end(slot, std::move(outcome));
}
}  // namespace procession::pool
