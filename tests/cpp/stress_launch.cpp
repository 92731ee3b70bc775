// SPDX-License-Identifier: Apache-2.0
// Processes started and joined from 8 threads, while another thread kills the zygote every second.
// Every one is accounted for by its exit code, and at the end nothing is left.
//
//   stress_launch [PROCESSES [SECONDS]]      10000 processes, at most 60 seconds of starting
//
// It starts as many as it gets to in that time, and says so. A zygote that is killed eight times in
// a row makes a start fail with an error: counted, too.
#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "base/error.hpp"
#include "launch/life.hpp"
#include "launch/session.hpp"
#include "launch/zygote_client.hpp"
#include "leftovers.hpp"
#include "os/exec.hpp"

namespace procession::launch {
namespace {

constexpr int kThreads = 8;

// A child ends with the code that its payload, one byte, names.
class CodeEntry : public Entry {
 public:
  int run(Start start, bool, const ToParent&) override {
    return static_cast<int>(start.payload.inline_bytes.at(0));
  }
  void refuse(const Start&, const char*, const ToParent&) override {}
};

struct Tally {
  std::atomic<int> next = 0;
  std::atomic<int> right = 0;
  std::atomic<int> wrong = 0;
  std::atomic<int> refused = 0;
  std::atomic<int> zygotes_killed = 0;
};

std::shared_ptr<Zygote> zygote() {
  static const std::vector<std::string> key{"stress"};
  Session& session = Session::instance();
  if (auto running = session.zygote(key)) return running;
  Executable self{"/proc/self/exe", {"stress_launch", "--child"}};
  return session.zygote(key, std::make_shared<Zygote>(self, channel::Payload{}));
}

void start_and_join(int code, Tally& tally) {
  channel::Payload payload;
  payload.inline_bytes.push_back(static_cast<std::byte>(code));
  try {
    Child child = zygote()->start({"stress", payload, {}}, [] {});
    while (child.wait_until(base::Deadline::never()) != base::Waited::kReady) {
    }
    (child.try_wait() == os::ExitStatus{code, 0} ? tally.right : tally.wrong)++;
  } catch (const base::OsError& error) {
    std::fprintf(stderr, "refused: %s\n", error.what());
    ++tally.refused;
  }
}

void run(int processes, std::chrono::seconds patience, Tally& tally) {
  auto end = std::chrono::steady_clock::now() + patience;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::thread killer([&] {
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, std::chrono::seconds(1), [&] { return done; })) {
      pid_t pid = zygote()->pid();
      if (pid > 0 && ::kill(pid, SIGKILL) == 0) ++tally.zygotes_killed;
    }
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int number; (number = tally.next++) < processes;) {
        if (std::chrono::steady_clock::now() > end) return;
        start_and_join(number % 200, tally);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  {
    std::lock_guard lock(mutex);
    done = true;
  }
  changed.notify_one();
  killer.join();
}

// As many as were started must be accounted for, and nothing of them be left.
int judge(const Tally& tally, const tests::Belongings& before) {
  Session::instance().end_idle();
  tests::Belongings after = tests::Belongings::once_threads_ended(before.threads);
  bool clean = !after.has_children && after.fds == before.fds && after.threads <= before.threads;
  std::printf(
      "%d processes ended with their code, %d with another, %d starts refused; "
      "%d zygotes killed; %s\n",
      tally.right.load(), tally.wrong.load(), tally.refused.load(), tally.zygotes_killed.load(),
      clean ? "nothing left" : "SOMETHING IS LEFT");
  return tally.wrong == 0 && tally.refused == 0 && tally.right > 0 && clean ? 0 : 1;
}

}  // namespace
}  // namespace procession::launch

int main(int argc, char** argv) {
  using namespace procession;
  if (argc > 1 && std::string_view(argv[1]) == "--child") {
    launch::CodeEntry entry;
    launch::live(os::Fd(os::kInheritedSocket), entry);
  }
  int processes = argc > 1 ? std::atoi(argv[1]) : 10'000;
  std::chrono::seconds patience(argc > 2 ? std::atoi(argv[2]) : 60);
  launch::Session::instance().own_pidfd();
  std::thread([] {}).join();  // with the first thread ThreadSanitizer starts one of its own
  launch::Tally tally;
  tests::Belongings before = tests::Belongings::now();
  launch::run(processes, patience, tally);
  return launch::judge(tally, before);
}
