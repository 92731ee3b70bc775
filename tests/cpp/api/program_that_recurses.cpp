// SPDX-License-Identifier: Apache-2.0
// A static initialiser that starts a process: its process would start one, too, and so on. It is
// refused there. Ends with 0 if that is so.
#include <procession/procession.hpp>
#include <string_view>

namespace mp = procession;

namespace {

void nothing() {}

int start_in_initialiser() {
  mp::Process process = mp::get_context("spawn").Process(nothing);
  try {
    process.start();
  } catch (const std::logic_error& error) {  // in the child
    std::string_view message = error.what();
    std::exit(message.find("static initialiser") == std::string_view::npos ? 11 : 12);
  }
  process.join();
  return process.exitcode().value_or(13);
}

const int kExitcode = start_in_initialiser();

}  // namespace

int main() { return kExitcode == 12 ? 0 : 1; }
