// SPDX-License-Identifier: Apache-2.0
// procession/context: which way processes are started.
//
//   forkserver  a copy of a process that was made once and kept clean; the default
//   spawn       a freshly executed program
//   fork        a copy of the calling process, with its memory; unsafe beside threads
//
// A Context is a value that libraries let their users pass. Neither a spawned process nor a fork
// server enters main(). Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "procession/detail/export.hpp"

namespace procession {

class Process;
struct ProcessOptions;
template <class T>
class Connection;

namespace detail {
enum class StartMethod : unsigned char { kFork, kSpawn, kForkserver };
class AnyPool;
}  // namespace detail

class PROCESSION_EXPORT Context {
 public:
  // The default context: its start method is get_start_method() at the moment of a start.
  Context() = default;

  std::string get_start_method() const;

  // As the constructors of Process, by this context's start method.
  template <class Target, class... Arguments>
  procession::Process Process(Target&& target, Arguments&&... arguments) const;
  template <class Target, class... Arguments>
  procession::Process Process(ProcessOptions options, Target&& target,
                              Arguments&&... arguments) const;

  // See procession::Pipe. What it gives works under every start method.
  template <class T>
  std::pair<Connection<T>, Connection<T>> Pipe(bool duplex = true) const;

  bool operator==(const Context&) const = default;

 private:
  friend Context get_context(std::string_view);
  friend class procession::Process;
  friend class detail::AnyPool;

  std::optional<detail::StartMethod> method_;
};

// "fork", "spawn" or "forkserver"; std::invalid_argument for any other name.
PROCESSION_EXPORT Context get_context(std::string_view method);
inline Context get_context() { return {}; }

// Of the default context. Setting it again, or after its first use, is a std::logic_error unless
// forced. A child takes its parent's.
PROCESSION_EXPORT void set_start_method(std::string_view method, bool force = false);
PROCESSION_EXPORT std::string get_start_method();

// The default comes first.
PROCESSION_EXPORT std::vector<std::string> get_all_start_methods();

// The CPUs that this process may use: its affinity mask, bounded by its cgroup's quota.
PROCESSION_EXPORT int cpu_count();

}  // namespace procession
