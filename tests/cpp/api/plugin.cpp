// SPDX-License-Identifier: Apache-2.0
// A plugin, loaded by dlopen; and another build of it.
namespace {
#ifdef PLUGIN_REBUILT
int answer(int number) { return number - 1; }
int more(int number) { return answer(number) * 7; }
#else
int answer(int number) { return number + 1; }
#endif
}  // namespace

extern "C" __attribute__((visibility("default"))) int (*plugin_function())(int);
extern "C" int (*plugin_function())(int) {
#ifdef PLUGIN_REBUILT
  if (more(2) == 0) return more;
#endif
  return answer;
}
