// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

static void end_with(int code) { std::exit(code); }

extern "C" void (*plugin_function())(int);
extern "C" void (*plugin_function())(int) { return end_with; }
