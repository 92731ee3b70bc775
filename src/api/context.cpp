// SPDX-License-Identifier: Apache-2.0
#include "procession/context.hpp"

#include <array>
#include <stdexcept>

#include "api/family.hpp"
#include "api/start.hpp"
#include "os/cpu.hpp"

namespace procession {

namespace {

using detail::StartMethod;

constexpr std::array kAllMethods{StartMethod::kForkserver, StartMethod::kFork, StartMethod::kSpawn};

StartMethod method_of(std::string_view name) {
  for (StartMethod method : kAllMethods) {
    if (name == api::method_name(method)) return method;
  }
  throw std::invalid_argument("cannot find context for '" + std::string(name) + "'");
}

}  // namespace

namespace api {

std::string_view method_name(StartMethod method) {
  switch (method) {
    case StartMethod::kFork:
      return "fork";
    case StartMethod::kSpawn:
      return "spawn";
    case StartMethod::kForkserver:
      return "forkserver";
  }
  return "";
}

std::string class_name(std::optional<StartMethod> method) {
  if (!method) return "Process";
  switch (*method) {
    case StartMethod::kFork:
      return "ForkProcess";
    case StartMethod::kSpawn:
      return "SpawnProcess";
    case StartMethod::kForkserver:
      return "ForkServerProcess";
  }
  return "";
}

}  // namespace api

std::string Context::get_start_method() const {
  return std::string(
      api::method_name(method_ ? *method_ : api::Family::instance().default_method()));
}

Context get_context(std::string_view method) {
  Context context;
  context.method_ = method_of(method);
  return context;
}

void set_start_method(std::string_view method, bool force) {
  api::Family::instance().set_default_method(method_of(method), force);
}

std::string get_start_method() { return Context().get_start_method(); }

std::vector<std::string> get_all_start_methods() {
  std::vector<std::string> names;
  for (StartMethod method : kAllMethods) names.emplace_back(api::method_name(method));
  return names;
}

int cpu_count() { return os::usable_cpus(); }

}  // namespace procession
