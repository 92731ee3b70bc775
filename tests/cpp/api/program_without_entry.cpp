// SPDX-License-Identifier: Apache-2.0
// A program that was linked without procession's entry before main: fork works, the other start
// methods are refused in words that help. Ends with 0 if that is so.
#include <iostream>
#include <procession/procession.hpp>

namespace mp = procession;

void nothing() {}

int main() {
  mp::Process by_fork = mp::get_context("fork").Process(nothing);
  by_fork.start();
  by_fork.join();
  if (by_fork.exitcode() != 0) return 1;
  for (const char* method : {"spawn", "forkserver"}) {
    mp::Process process = mp::get_context(method).Process(nothing);
    try {
      process.start();
      return 2;
    } catch (const std::logic_error& error) {
      std::string message = error.what();
      std::cout << message << '\n';
      if (message.find("procession::procession") == std::string::npos) return 3;
      if (message.find(method) == std::string::npos) return 4;
    }
  }
  return 0;
}
