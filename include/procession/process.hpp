// SPDX-License-Identifier: Apache-2.0
// procession/process: an ordinary function in another process.
//
// A Process is a handle: its copies name the same process, as in Python. Dropping it leaves the
// process alone. When a program ends normally, its daemon children are terminated (killed if they
// have not ended 2 seconds later) and the others are joined. When it is killed, its children end,
// too, within a second. Thread-safe.
#pragma once

#include <chrono>
#include <concepts>
#include <exception>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "procession/context.hpp"
#include "procession/detail/call.hpp"
#include "procession/detail/export.hpp"

namespace procession {

namespace detail {
struct ProcessState;
}

struct ProcessOptions {
  std::string name = {};            // empty: "Process-1", "SpawnProcess-2", ...
  std::optional<bool> daemon = {};  // not given: that of the current process
  Context mp_context = {};
};

class PROCESSION_EXPORT Process {
 public:
  using Seconds = std::chrono::duration<double>;

  // A process that will call `target(arguments...)`, whose result is ignored. Targets are functions,
  // lambdas without captures, and functors that can be serialised or are plain aggregates; others,
  // such as lambdas with captures, only run under fork. Arguments are kept as the target's parameter
  // types; they are what cereal takes, plain aggregates, functions and connections.
  template <class Target, class... Arguments>
  requires(!std::derived_from<std::decay_t<Target>, Process> &&
           !std::same_as<std::decay_t<Target>,
                         ProcessOptions>) explicit Process(Target&& target,
                                                           Arguments&&... arguments)
      : Process(ProcessOptions{}, std::forward<Target>(target),
                std::forward<Arguments>(arguments)...) {}

  template <class Target, class... Arguments>
  explicit Process(ProcessOptions options, Target&& target, Arguments&&... arguments)
      : Process(std::move(options),
                detail::make_call<false>(std::forward<Target>(target),
                                         std::forward<Arguments>(arguments)...)) {}

  // std::logic_error on a second start, or if this start method can't run the target; OsError if
  // there is no process to be had. What serialising an argument throws comes out here.
  void start();

  // Waits for the end; false if `timeout` passed before. std::logic_error before start().
  bool join();
  bool join(Seconds timeout);

  bool is_alive() const;

  // Nothing while it runs; minus the signal's number if a signal ended it.
  std::optional<int> exitcode() const;

  // What the target threw, or null. Of what it was if that type is the standard library's or
  // registered (register_exception), else a RemoteError.
  std::exception_ptr exception() const;

  // SIGTERM, SIGKILL. Nothing if it has ended.
  void terminate();
  void kill();

  // Releases what is held for it; afterwards its methods throw. std::logic_error while it runs.
  void close();

  // Nothing before start().
  std::optional<int> pid() const;

  // A descriptor that becomes readable at the end of the process; valid as long as a handle is.
  int sentinel() const;

  std::string name() const;
  void set_name(std::string name);

  bool daemon() const;
  void set_daemon(bool daemon);  // before start()

  // Whether both are handles of the same process.
  bool operator==(const Process&) const = default;

  // As Python shows it: <SpawnProcess name='SpawnProcess-1' pid=7 parent=3 stopped exitcode=1>
  friend PROCESSION_EXPORT std::ostream& operator<<(std::ostream& out, const Process& process);

 protected:
  Process(ProcessOptions options, std::unique_ptr<detail::Call> call);

 private:
  friend Process current_process();
  friend std::optional<Process> parent_process();
  friend std::vector<Process> active_children();

  explicit Process(std::shared_ptr<detail::ProcessState> state) noexcept;

  std::shared_ptr<detail::ProcessState> state_;
};

// A process of the start method fork, which takes any target and any arguments, since they are
// copied with the memory.
class ForkProcess : public Process {
 public:
  template <class Target, class... Arguments>
  requires(!std::derived_from<std::decay_t<Target>, Process> &&
           !std::same_as<std::decay_t<Target>,
                         ProcessOptions>) explicit ForkProcess(Target&& target,
                                                               Arguments&&... arguments)
      : ForkProcess(ProcessOptions{}, std::forward<Target>(target),
                    std::forward<Arguments>(arguments)...) {}

  template <class Target, class... Arguments>
  explicit ForkProcess(ProcessOptions options, Target&& target, Arguments&&... arguments)
      : Process(by_fork(std::move(options)),
                detail::make_call<true>(std::forward<Target>(target),
                                        std::forward<Arguments>(arguments)...)) {}

 private:
  static ProcessOptions by_fork(ProcessOptions options) {
    options.mp_context = get_context("fork");
    return options;
  }
};

PROCESSION_EXPORT Process current_process();

// Nothing in a process that procession didn't start.
PROCESSION_EXPORT std::optional<Process> parent_process();

// The children that run, after reaping those that don't.
PROCESSION_EXPORT std::vector<Process> active_children();

// Ends the processes that only wait for a start, the fork server and what was made ahead, and waits
// for them; what was started goes on. Never needed, since the end of the program does it, too, but it
// lets a program show that it leaves nothing behind.
PROCESSION_EXPORT void end_idle();

template <class Target, class... Arguments>
Process Context::Process(Target&& target, Arguments&&... arguments) const {
  ProcessOptions options;
  options.mp_context = *this;
  return procession::Process(std::move(options), std::forward<Target>(target),
                             std::forward<Arguments>(arguments)...);
}

template <class Target, class... Arguments>
Process Context::Process(ProcessOptions options, Target&& target, Arguments&&... arguments) const {
  options.mp_context = *this;
  return procession::Process(std::move(options), std::forward<Target>(target),
                             std::forward<Arguments>(arguments)...);
}

}  // namespace procession
