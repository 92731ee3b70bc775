// SPDX-License-Identifier: Apache-2.0
// What can't travel is refused by the compiler, in words. Each case is compiled on its own.
#include <functional>
#include <procession/procession.hpp>
#include <thread>

namespace mp = procession;

struct Pointed {
  std::vector<int*> pointers;
};

class Opaque {
 public:
  explicit Opaque(int) {}
};

void take_pointer(int, int*) {}
void take_pointed(Pointed) {}
void take_reference(std::reference_wrapper<int>) {}
void take_thread(std::thread) {}
void take_two(int, int) {}

void use() {
  [[maybe_unused]] int number = 0;
#if defined(REFUSAL_POINTER)
  mp::Process(take_pointer, 1, &number);
#elif defined(REFUSAL_NESTED)
  mp::Process(take_pointed, Pointed{});
#elif defined(REFUSAL_REFERENCE)
  mp::Process(take_reference, std::ref(number));
#elif defined(REFUSAL_THREAD)
  mp::Process(take_thread, std::thread());
#elif defined(REFUSAL_COUNT)
  mp::Process(take_two, 1);
#elif defined(REFUSAL_GENERIC)
  mp::Process([](auto&&) {}, 1, 2);
#elif defined(REFUSAL_CONNECTION)
  mp::Pipe<int*>().first.recv();
#elif defined(REFUSAL_EXCEPTION)
  mp::register_exception<Opaque>();
#else
  mp::Process(take_two, 1, 2);
  mp::ForkProcess(take_pointer, 1, &number);
  mp::ForkProcess(take_reference, std::ref(number));
#endif
}
