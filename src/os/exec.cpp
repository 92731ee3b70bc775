// SPDX-License-Identifier: Apache-2.0
#include "os/exec.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>

#include "base/error.hpp"

namespace procession::os {

namespace {

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (const std::string& string : strings) out.push_back(const_cast<char*>(string.c_str()));
  out.push_back(nullptr);
  return out;
}

// posix_spawn's functions return the error number.
void check(int error_number, std::string_view call) {
  if (error_number != 0) base::throw_os_error(error_number, call);
}

struct FileActions {
  posix_spawn_file_actions_t value;
  FileActions() { check(::posix_spawn_file_actions_init(&value), "posix_spawn"); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { ::posix_spawn_file_actions_destroy(&value); }
};

struct Attributes {
  posix_spawnattr_t value;
  Attributes() { check(::posix_spawnattr_init(&value), "posix_spawn"); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() { ::posix_spawnattr_destroy(&value); }
};

}  // namespace

pid_t spawn_program(const Program& program, const Fd& socket) {
  FileActions actions;
  check(::posix_spawn_file_actions_addopen(&actions.value, 0, "/dev/null", O_RDONLY, 0),
        "posix_spawn");
  for (int output = 1; program.silent && output <= 2; ++output) {
    check(::posix_spawn_file_actions_addopen(&actions.value, output, "/dev/null", O_WRONLY, 0),
          "posix_spawn");
  }
  check(::posix_spawn_file_actions_adddup2(&actions.value, socket.get(), kInheritedSocket),
        "posix_spawn");
  check(::posix_spawn_file_actions_addclosefrom_np(&actions.value, kInheritedSocket + 1),
        "posix_spawn");
  Attributes attributes;
  sigset_t none;
  ::sigemptyset(&none);
  check(::posix_spawnattr_setsigmask(&attributes.value, &none), "posix_spawn");
  check(::posix_spawnattr_setflags(&attributes.value, POSIX_SPAWN_SETSIGMASK), "posix_spawn");
  pid_t pid = -1;
  std::vector<char*> argv = pointers(program.argv);
  std::vector<char*> env = pointers(program.env);
  check(::posix_spawn(&pid, program.path.c_str(), &actions.value, &attributes.value, argv.data(),
                      env.data()),
        "execute '" + program.path + "'");
  return pid;
}

}  // namespace procession::os
