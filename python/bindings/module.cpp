// SPDX-License-Identifier: Apache-2.0
// The extension module procession._engine. No interpreter-wide state: the session is the process's.
#include <nanobind/nanobind.h>

#include "arena_buffer.hpp"
#include "child_entry.hpp"
#include "connection.hpp"
#include "dict_snapshot.hpp"
#include "executor.hpp"
#include "future.hpp"
#include "os/cpu.hpp"
#include "os/poll.hpp"
#include "os_error.hpp"
#include "pool_core.hpp"
#include "pool_view.hpp"
#include "pool_worker.hpp"
#include "process.hpp"
#include "queues.hpp"
#include "shared_containers.hpp"
#include "sink.hpp"
#include "synchronize.hpp"

namespace nb = nanobind;

namespace {

void translate(const std::exception_ptr& error, void*) {
  try {
    std::rethrow_exception(error);
  } catch (const procession::base::OsError& os_error) {
    procession::bindings::set_os_error(os_error);
  }
}

}  // namespace

NB_MODULE(_engine, module) {
  module.doc() = "procession's engine: processes, made and watched natively.";
#ifdef NDEBUG
  // A daemon thread that holds a process at the interpreter's end is nobody's mistake.
  nb::set_leak_warnings(false);
#endif
  nb::register_exception_translator(translate);
  procession::bindings::bind_sink(module);
  procession::bindings::bind_process(module);
  procession::bindings::bind_child_entry(module);
  procession::bindings::bind_dict_snapshot(module);
  procession::bindings::bind_arena_buffer(module);
  procession::bindings::bind_connection(module);
  procession::bindings::bind_future(module);
  procession::bindings::bind_pool_core(module);
  procession::bindings::bind_executor(module);
  procession::bindings::bind_pool_view(module);
  procession::bindings::bind_pool_worker(module);
  procession::bindings::bind_synchronize(module);
  procession::bindings::bind_queues(module);
  procession::bindings::bind_shared_map(module);
  procession::bindings::bind_shared_sequence(module);
  module.def("reader_is_gone", &procession::os::reader_is_gone, nb::arg("fd"),
             "Whether nobody reads any more from the pipe that this descriptor writes to.");
  module.def("cpu_count", &procession::os::usable_cpus,
             "CPUs that this process may use: affinity mask and cgroup quota.");
}
