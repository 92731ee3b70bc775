// SPDX-License-Identifier: Apache-2.0
// A main() with all three parameters, a thread that a static initialiser starts, and arguments that
// look like procession's own. Ends with 0 if it sees them and its processes run.
#include <cstring>
#include <procession/procession.hpp>
#include <thread>

namespace mp = procession;

namespace {

// Every image of the program has it, the fork server's too, which then can't copy itself directly.
const bool kThreadStarted = [] {
  std::thread([] {
    while (true) std::this_thread::sleep_for(std::chrono::hours(1));
  }).detach();
  return true;
}();

void exit_with(int code) { std::exit(code); }

}  // namespace

int main(int argc, char** argv, char** environment) {
  if (argc != 2 || std::strcmp(argv[1], "--procession-child") != 0) return 1;
  bool found = false;
  for (char** entry = environment; *entry; ++entry) {
    if (std::strcmp(*entry, "PROCESSION_PRESENT=yes") == 0) found = true;
  }
  if (!found || !kThreadStarted) return 2;
  for (const std::string& method : mp::get_all_start_methods()) {
    for (int code = 0; code < 3; ++code) {
      mp::Process process = mp::get_context(method).Process(exit_with, code);
      process.start();
      process.join();
      if (process.exitcode() != code) return 3;
    }
  }
  return 0;
}
