// SPDX-License-Identifier: Apache-2.0
// A function in another process, under the start method that the command line names.
#include <iostream>
#include <procession/procession.hpp>
#include <string>

namespace mp = procession;

void hello(std::string who) { std::cout << "hello " << who << '\n'; }

int main(int argc, char** argv) {
  if (argc > 1) mp::set_start_method(argv[1]);
  mp::Process p(hello, "bob");
  p.start();
  p.join();
  return p.exitcode().value_or(1);
}
