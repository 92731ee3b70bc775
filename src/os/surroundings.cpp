// SPDX-License-Identifier: Apache-2.0
#include "os/surroundings.hpp"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

#include "base/error.hpp"

extern char** environ;  // POSIX declares it in no header

namespace procession::os {

namespace {

std::string current_env() {
  std::string env;
  for (char** entry = environ; entry && *entry; ++entry) env.append(*entry).push_back('\0');
  return env;
}

std::string current_cwd() {
  std::array<char, PATH_MAX> path;
  return ::getcwd(path.data(), path.size()) ? std::string(path.data()) : std::string();
}

void replace_env(const std::string& env) {
  ::clearenv();
  for (std::size_t at = 0; at < env.size();) {
    std::string_view entry(env.c_str() + at);
    at += entry.size() + 1;
    std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    std::string name(entry.substr(0, equals));
    if (::setenv(name.c_str(), entry.data() + equals + 1, 1) != 0) {
      base::throw_os_error(errno, "setenv");
    }
  }
}

}  // namespace

OwnStatus OwnStatus::open() {
  OwnStatus status;
  status.file_ = Fd(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  return status;
}

// umask(2) can only be read by setting it, for a moment, in every thread: /proc tells without.
mode_t OwnStatus::umask() const {
  std::array<char, 512> text{};
  if (valid() && ::pread(file_.get(), text.data(), text.size() - 1, 0) > 0) {
    const char* line = std::strstr(text.data(), "\nUmask:");
    if (line) return static_cast<mode_t>(std::strtoul(line + 7, nullptr, 8));
  }
  mode_t mask = ::umask(077);
  ::umask(mask);
  return mask;
}

Surroundings current_surroundings(const OwnStatus& status) {
  return {current_env(), current_cwd(), status.umask()};
}

Surroundings current_surroundings() { return current_surroundings(OwnStatus::open()); }

bool apply(const Surroundings& wanted) {
  ::umask(wanted.umask);
  if (!wanted.cwd.empty() && wanted.cwd != current_cwd() && ::chdir(wanted.cwd.c_str()) != 0) {
    base::throw_os_error(errno, "enter the parent's working directory '" + wanted.cwd + "'");
  }
  if (wanted.env == current_env()) return false;
  replace_env(wanted.env);
  return true;
}

std::vector<std::string> env_strings(const Surroundings& surroundings) {
  std::vector<std::string> strings;
  for (std::size_t at = 0; at < surroundings.env.size(); at += strings.back().size() + 1) {
    strings.emplace_back(surroundings.env.c_str() + at);
  }
  return strings;
}

}  // namespace procession::os
