# SPDX-License-Identifier: Apache-2.0
# The warnings under which everything of ours is compiled.

function(procession_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # "literal" + std::to_string(...) is reported as an overlapping copy (GCC bug 105329).
    target_compile_options(${target} PRIVATE -Wno-restrict -Wno-array-bounds)
  endif()
endfunction()
