// SPDX-License-Identifier: Apache-2.0
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/error.hpp"
#include "children.hpp"
#include "launch/session.hpp"
#include "launch/zygote_client.hpp"
#include "os/clone.hpp"
#include "os/fd.hpp"
#include "os/process.hpp"

namespace procession::launch {
namespace {

class BadLuck : public EachMethod {};
PROCESSION_ON_EACH_METHOD(BadLuck);

// Lets this process open `more` descriptors than it has.
class TightLimit {
 public:
  explicit TightLimit(int more) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    os::Fd next = os::open_null();  // the lowest free number
    rlimit tight{static_cast<rlim_t>(next.get() + more), before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &tight);
  }
  ~TightLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  TightLimit(const TightLimit&) = delete;
  TightLimit& operator=(const TightLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_P(BadLuck, TooFewDescriptorsAreAnErrorAndNothingIsLeft) {
  bool started = false;
  for (int more = 0; !started; ++more) {
    ASSERT_LT(more, 64);
    tests::Belongings before = tests::Belongings::now();
    try {
      TightLimit limit(more);
      Child child = start("exit 6");
      started = true;
      EXPECT_EQ(end_of(child).value(), 6);
    } catch (const base::OsError& error) {
      EXPECT_EQ(error.error_number(), EMFILE) << error.what();
      settle();
      EXPECT_EQ(tests::Belongings::now().fds, before.fds) << more;
      EXPECT_FALSE(tests::Belongings::now().has_children) << more;
    }
  }
}

TEST_P(BadLuck, TooFewDescriptorsBesideARunningZygote) {
  for (int more = 0; more < 12; ++more) {
    Child first = start("exit 0");
    end_of(first);
    try {
      TightLimit limit(more);
      Child child = start("exit 6");
      EXPECT_EQ(end_of(child).value(), 6);
    } catch (const base::OsError& error) {
      EXPECT_EQ(error.error_number(), EMFILE) << error.what();
    }
    Child after = start("exit 7");
    EXPECT_EQ(end_of(after).value(), 7) << more;
  }
}

// As a user who may have no further process: root has no such limit.
TEST_P(BadLuck, TooManyProcessesAreAnError) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become a user without processes";
  pid_t user = os::fork_process();
  if (user == 0) {
    rlimit none{0, 0};
    ::setrlimit(RLIMIT_NPROC, &none);
    if (::setgroups(0, nullptr) != 0 || ::setuid(64123) != 0) os::exit_now(2);
    try {
      start("exit 0");
    } catch (const base::OsError& error) {
      os::exit_now(error.error_number() == EAGAIN ? 0 : 3);
    } catch (...) {
      os::exit_now(4);
    }
    os::exit_now(5);
  }
  int status = 0;
  ::waitpid(user, &status, 0);
  EXPECT_EQ(status, 0) << WEXITSTATUS(status);
}

TEST_P(BadLuck, AProgramThatIsNotThere) {
  channel::Payload payload;
  EXPECT_THROW(spawn_child({"/no/such/program", {"x"}}, {"x", payload, {}}), base::OsError);
  Zygote zygote({"/no/such/program", {"x"}}, {});
  EXPECT_THROW(zygote.start({"x", payload, {}}, [] {}), base::OsError);
}

TEST_P(BadLuck, AProgramThatIsNoZygote) {
  channel::Payload payload;
  Zygote zygote({"/bin/false", {"false"}}, {});
  try {
    zygote.start({"x", payload, {}}, [] {});
    FAIL() << "no error";
  } catch (const base::OsError& error) {
    EXPECT_NE(std::string(error.what()).find("exit code 1"), std::string::npos) << error.what();
  }
}

TEST_P(BadLuck, AKilledZygoteIsReplaced) {
  for (int i = 0; i < 20; ++i) {
    Child child = start("wait");
    pid_t zygote = method() == "forkserver" ? zygote_pid() : 0;
    if (zygote != 0) ::kill(zygote, i % 2 == 0 ? SIGKILL : SIGSEGV);
    EXPECT_EQ(child.try_wait(), std::nullopt) << "its child is unharmed";
    child.send_signal(SIGTERM);
    EXPECT_EQ(end_of(child).value(), -SIGTERM);
  }
}

TEST_P(BadLuck, AZygoteThatIsKilledWhileItStartsChildren) {
  std::atomic<bool> done = false;
  std::thread killer([&] {
    while (!done) {
      pid_t zygote = zygote_pid();
      if (zygote > 0) ::kill(zygote, SIGKILL);
      ::usleep(3000);  // not a synchronisation: any rhythm will do
    }
  });
  int counted = 0;
  for (int i = 0; i < 100; ++i) {
    try {
      Child child = start("exit " + std::to_string(i));
      if (end_of(child).value() == i) ++counted;
    } catch (const base::OsError& error) {
      EXPECT_EQ(error.error_number(), ECHILD);  // killed eight times in a row
      ++counted;
    }
  }
  done = true;
  killer.join();
  EXPECT_EQ(counted, 100);
}

// Its children are then forked as orphans, which this process adopts.
TEST_P(BadLuck, AZygoteWithThreads) {
  if (method() != "forkserver") GTEST_SKIP() << "only that has a zygote";
  Zygote zygote(this_program(), payload_of("with a thread"));
  for (int i = 0; i < 5; ++i) {
    channel::Payload payload = payload_of("exit " + std::to_string(i));
    Child child = zygote.start({"test", payload, {}}, [] {});
    EXPECT_EQ(end_of(child).value(), i);
  }
  channel::Payload payload = payload_of("wait");
  Child child = zygote.start({"test", payload, {}}, [] {});
  ::kill(zygote.pid(), SIGKILL);
  child.send_signal(SIGTERM);
  EXPECT_EQ(end_of(child).value(), -SIGTERM) << "unharmed by the zygote's death";
  channel::Payload last = payload_of("exit 9");
  Child next = zygote.start({"test", last, {}}, [] {});
  EXPECT_EQ(end_of(next).value(), 9);
}

bool waits_for_message(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/syscall");
  long call = -1;
  return file >> call && call == SYS_recvmsg;
}

TEST_P(BadLuck, AKilledSpareIsReplaced) {
  if (method() != "forkserver") GTEST_SKIP() << "only a zygote makes spares";
  Child first = start("exit 0");
  end_of(first);
  // Of this process's children the spare is the one that is neither known nor the zygote. Until the
  // zygote waits for what is to be done next, it holds the spare's socket, too.
  siginfo_t info{};
  std::vector<pid_t> others;
  while (others.empty() || !waits_for_message(zygote_pid())) {
    std::this_thread::yield();
    std::ifstream file("/proc/self/task/" + std::to_string(::getpid()) + "/children");
    others.clear();
    for (pid_t pid = 0; file >> pid;) {
      if (pid != zygote_pid()) others.push_back(pid);
    }
  }
  for (pid_t pid : others) {
    ::kill(pid, SIGKILL);
    ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  }
  Child child = start("exit 9");
  int code = end_of(child).value();
  EXPECT_EQ(code, 9) << "it was not yet started";
  Child next = start("exit 9");
  EXPECT_EQ(end_of(next).value(), 9);
}

}  // namespace
}  // namespace procession::launch
