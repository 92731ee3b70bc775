// SPDX-License-Identifier: Apache-2.0
// base/sanitizers: under which of them this is compiled. g++ and clang say so in ways of their own.
#pragma once

namespace procession::base {

#if defined(__has_feature)
#define PROCESSION_HAS_FEATURE(feature) __has_feature(feature)
#else
#define PROCESSION_HAS_FEATURE(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || PROCESSION_HAS_FEATURE(address_sanitizer)
inline constexpr bool kUnderAsan = true;
#else
inline constexpr bool kUnderAsan = false;
#endif

#if defined(__SANITIZE_THREAD__) || PROCESSION_HAS_FEATURE(thread_sanitizer)
inline constexpr bool kUnderTsan = true;
#else
inline constexpr bool kUnderTsan = false;
#endif

#undef PROCESSION_HAS_FEATURE

}  // namespace procession::base
