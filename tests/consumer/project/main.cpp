// SPDX-License-Identifier: Apache-2.0
// Ends with 0 if processes work from an executable, a shared library and a plugin, by every method.
#include <dlfcn.h>

#include <iostream>
#include <stdexcept>

#include "work.hpp"

namespace mp = procession;

namespace {

int failures = 0;

void expect(bool holds, const std::string& what) {
  if (!holds) ++failures;
  std::cout << (holds ? "ok: " : "FAILED: ") << what << '\n';
}

template <class... Arguments>
int exitcode_of(const mp::Context& context, Arguments&&... arguments) {
  mp::Process process = context.Process(std::forward<Arguments>(arguments)...);
  process.start();
  process.join();
  return process.exitcode().value_or(-1000);
}

void fail(int number) { throw std::out_of_range(std::to_string(number)); }

void try_method(const std::string& method, void (*of_plugin)(int)) {
  mp::Context context = mp::get_context(method);
  expect(exitcode_of(context, [] {}) == 0, method + ": a lambda of the program");
  expect(exitcode_of(context, of_plugin, 7) == 7, method + ": a function of a plugin");
  auto [ours, theirs] = mp::Pipe<std::string>();
  expect(
      exitcode_of(context, work, std::move(theirs), "this") == 0 && ours.recv() == "worked on this",
      method + ": a function of a shared library");
  expect(work_elsewhere(context, "that") == "worked on that", method + ": from a shared library");
  mp::Process process = context.Process(fail, 3);
  process.start();
  process.join();
  try {
    std::rethrow_exception(process.exception());
  } catch (const std::out_of_range& error) {
    expect(std::string(error.what()) == "3", method + ": an exception");
  }
  {
    mp::ProcessPoolExecutor pool(
        {.max_workers = 2, .mp_context = context, .on_worker_death = mp::OnWorkerDeath::kFailTask});
    expect(pool.submit([](int n) { return n + 1; }, 1).get() == 2, method + ": an executor");
    try {
      pool.submit(of_plugin, 8).get();
    } catch (const mp::WorkerDied& error) {
      expect(error.exitcode() == 8, method + ": an executor with a function of a plugin");
    }
  }
  expect(mp::active_children().empty(), method + ": nothing is left");
}

}  // namespace

int main() {
  void* plugin = ::dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (!plugin) throw std::runtime_error(::dlerror());
  auto get = reinterpret_cast<void (*(*)())(int)>(::dlsym(plugin, "plugin_function"));
  for (const std::string& method : mp::get_all_start_methods()) try_method(method, get());
  return failures;
}
