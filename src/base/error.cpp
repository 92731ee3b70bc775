// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

namespace procession::base {

void throw_os_error(int error_number, std::string_view call) {
  if (call.starts_with("::")) call.remove_prefix(2);
  throw OsError(error_number, std::string(call));
}

std::string OsError::attempted() const {
  std::string all = what();
  std::string ending = ": " + code().message();
  return all.ends_with(ending) ? all.substr(0, all.size() - ending.size()) : all;
}

}  // namespace procession::base
