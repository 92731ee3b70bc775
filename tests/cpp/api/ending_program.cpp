// SPDX-License-Identifier: Apache-2.0
// What test_program_end runs: a program that starts children and then ends in the way that its
// second argument names, by the start method that its first names. It prints its children's pids.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <procession/procession.hpp>
#include <string>
#include <vector>

namespace mp = procession;

void wait_for_end(mp::Connection<int> link) {
  link.send(1);
  while (true) ::pause();
}

void resist(mp::Connection<int> link) {
  std::signal(SIGTERM, SIG_IGN);
  wait_for_end(std::move(link));
}

void end_by_itself(mp::Connection<int> link) {
  link.send(1);
  link.recv();
  std::cout << "ended by itself\n";
}

template <class Target>
mp::Process start(mp::Connection<int>& ours, bool daemon, Target target) {
  auto [one, two] = mp::Pipe<int>();
  mp::Process process({.daemon = daemon}, target, std::move(two));
  process.start();
  one.recv();
  ours = std::move(one);
  std::cout << *process.pid() << std::endl;
  return process;
}

// Of static lifetime: destroyed after the end of main.
struct Farewell {
  ~Farewell() { std::cout << "static destructor of " << ::getpid() << std::endl; }
} farewell;

int next_to(int number) { return number + 1; }

// Submits when what belongs to the main thread has been destroyed.
struct Latecomer {
  explicit Latecomer(mp::ProcessPoolExecutor& of) : pool(of) {}
  Latecomer(const Latecomer&) = delete;
  Latecomer& operator=(const Latecomer&) = delete;
  ~Latecomer() {
    std::vector<mp::Future<int>> numbers;
    std::vector<mp::Future<std::string>> texts;
    auto repeat = [](std::string text) { return text + text; };
    for (int i = 0; i < 130; ++i) {
      numbers.push_back(pool.submit(next_to, i));
      texts.push_back(pool.submit(repeat, std::to_string(i)));
    }
    int right = 0;
    for (int i = 0; i < 130; ++i) {
      std::string text = std::to_string(i);
      right += numbers[i].get() == i + 1 && texts[i].get() == text + text ? 1 : 0;
    }
    std::cout << "right are " << right << " of 130" << std::endl;
  }

  mp::ProcessPoolExecutor& pool;
};

int main(int, char** argv) {
  mp::set_start_method(argv[1]);
  std::string way = argv[2];
  std::cout << ::getpid() << std::endl;
  if (way == "late") {
    static mp::ProcessPoolExecutor pool({.max_workers = 2});
    for (int i = 0; i < 5; ++i) pool.submit(next_to, i).get();
    static Latecomer late(pool);
    return 4;
  }
  static mp::Connection<int> links[3];
  if (way == "return" || way == "exit") {
    start(links[0], true, wait_for_end);
    start(links[1], false, end_by_itself);
    links[1].send(1);
    if (way == "exit") std::exit(5);
    return 5;
  }
  start(links[0], false, wait_for_end);
  start(links[1], true, way == "stubborn" ? resist : wait_for_end);
  if (way == "stubborn") mp::active_children().front().kill();
  if (way == "throw") throw std::runtime_error("uncaught");
  if (way == "kill") std::raise(SIGKILL);
  if (way == "abort") std::abort();
  if (way == "_exit") ::_exit(6);
  return 7;
}
