// SPDX-License-Identifier: Apache-2.0
// main_shim: what the linker puts before main() of every program that uses procession
// (-Wl,--wrap=main), so that a program that is executed to be a child never enters main().
#include "procession/detail/main_shim.hpp"

extern "C" {

// The program's main(), whichever parameters it takes.
int __real_main(int argc, char** argv, char** envp);  // NOLINT(bugprone-reserved-identifier)

int __wrap_main(int argc, char** argv, char** envp) {  // NOLINT(bugprone-reserved-identifier)
  if (procession::detail::is_child(argc, argv)) procession::detail::live_as_child(argv);
  return __real_main(argc, argv, envp);
}

// glibc hands main's arguments to constructors, too.
__attribute__((constructor(101))) static void before_other_initialisers(int argc, char** argv) {
  procession::detail::note_main_shim(argc, argv);
}
}
