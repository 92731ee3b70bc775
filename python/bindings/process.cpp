// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "base/error.hpp"
#include "child_entry.hpp"
#include "launch/child.hpp"
#include "launch/fork.hpp"
#include "launch/session.hpp"
#include "launch/spawn.hpp"
#include "launch/zygote_client.hpp"
#include "sink.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

// PEP 475: a wait that a signal interrupted runs Python's handlers and, if none raises, goes on.
void run_signal_handlers() {
  nb::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

std::optional<int> value_of(const std::optional<os::ExitStatus>& status) {
  return status ? std::optional(status->value()) : std::nullopt;
}

std::optional<int> wait(launch::Child& child, std::optional<double> timeout) {
  auto deadline = timeout ? base::Deadline::after(std::chrono::duration<double>(*timeout))
                          : base::Deadline::never();
  nb::gil_scoped_release unlocked;
  while (child.wait_until(deadline) == base::Waited::kInterrupted) run_signal_handlers();
  return value_of(child.try_wait());
}

std::optional<nb::bytes> take_failure(launch::Child& child) {
  std::optional<channel::Payload> failure = child.take_failure();
  if (!failure) return std::nullopt;
  channel::PayloadReader reader(std::move(*failure));
  return nb::bytes(reinterpret_cast<const char*>(reader.bytes().data()), reader.bytes().size());
}

// Runs `start`, and says in its OsError which process could not be started.
template <class Start>
auto named(const std::string& name, const char* method, Start start) {
  try {
    return start();
  } catch (const base::OsError& error) {
    throw base::OsError(error.error_number(), "cannot start '" + name + "' (start method '" +
                                                  method + "'): " + error.attempted());
  }
}

// Python's own fork() runs its at-fork hooks, audit events and warnings: it is handed in. Returns in
// the parent only: the child's life is `in_child`.
launch::Child fork(const nb::callable& os_fork, const std::string& name,
                   const nb::callable& in_child) {
  launch::Forked forked = named(
      name, "fork", [&] { return launch::fork_child([&] { return nb::cast<pid_t>(os_fork()); }); });
  if (forked.in_child()) live_forked(std::move(forked), in_child);
  return std::move(*forked.child);
}

launch::Child spawn(const std::vector<std::string>& command, const std::string& name, Sink& sink,
                    std::vector<int> fds) {
  channel::Payload payload = sink.take();
  return named(name, "spawn", [&] {
    return launch::spawn_child({command.at(0), command}, {name, payload, std::move(fds)});
  });
}

// The session's zygote runs `command` and imports `preload` ahead: with others, it is another one.
launch::Child start_by_zygote(std::vector<std::string> command, std::vector<std::string> preload,
                              const nb::callable& configure, const std::string& name, Sink& sink,
                              std::vector<int> fds) {
  std::vector<std::string> key = command;
  key.insert(key.end(), preload.begin(), preload.end());
  launch::Session& session = launch::Session::instance();
  std::shared_ptr<launch::Zygote> zygote = session.zygote(key);
  if (!zygote) {
    nb::object configuration = configure();
    zygote = session.zygote(
        key, std::make_shared<launch::Zygote>(launch::Executable{command.at(0), command},
                                              nb::cast<Sink&>(configuration).take()));
  }
  channel::Payload payload = sink.take();
  launch::Order order{name, payload, std::move(fds)};
  nb::gil_scoped_release unlocked;
  return named(name, "forkserver", [&] { return zygote->start(order, run_signal_handlers); });
}

}  // namespace

void bind_process(nb::module_& module) {
  nb::class_<launch::Child>(module, "Child", "A process that this one started.")
      .def_prop_ro("pid", &launch::Child::pid)
      .def_prop_ro("sentinel", &launch::Child::sentinel,
                   "A descriptor that is readable once the process has ended.")
      .def(
          "try_wait", [](launch::Child& child) { return value_of(child.try_wait()); },
          "The exit code, minus the signal's number, or None while it runs.")
      .def("wait", &wait, "timeout"_a.none(),
           "As try_wait, after at most `timeout` seconds (None: until it ends).")
      .def("send_signal", &launch::Child::send_signal, "signal"_a,
           "False if the process has ended.")
      .def("take_failure", &take_failure, "What the child reported before it ended, once.");
  module.def(
      "fork", &fork, "os_fork"_a, "name"_a, "in_child"_a,
      "Forks by `os_fork`. The child ends with what in_child(parent_sentinel, to_parent) returns.");
  module.def("spawn", &spawn, "command"_a, "name"_a, "sink"_a, "fds"_a,
             "Starts a child as a new program.");
  module.def("start_by_zygote", &start_by_zygote, "command"_a, "preload"_a, "configure"_a, "name"_a,
             "sink"_a, "fds"_a,
             "Starts a child by the session's zygote; `configure` gives a Sink for a new one.");
  module.def(
      "end_idle", [] { launch::Session::instance().end_idle(); },
      nb::call_guard<nb::gil_scoped_release>(),
      "Ends the processes that only wait for a start: the zygote and all spares.");
}

}  // namespace procession::bindings
