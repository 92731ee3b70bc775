// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <thread>

#include "every_method.hpp"
#include "shm/commons.hpp"

namespace procession::tests {
namespace {

class Connections : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Connections);

void double_all(mp::Connection<int> link) {
  try {
    while (true) link.send(2 * link.recv());
  } catch (const mp::EOFError&) {
  }
}

TEST_P(Connections, ValuesGoBothWaysUntilTheEnd) {
  auto [ours, theirs] = mp::Pipe<int>();
  mp::Process process = context().Process(double_all, std::move(theirs));
  process.start();
  for (int i = 0; i < 100; ++i) {
    ours.send(i);
    EXPECT_EQ(ours.recv(), 2 * i);
  }
  if (method() == "fork") {
    process.kill();  // it has a copy of our end, too
  }
  ours.close();
  process.join();
  EXPECT_EQ(process.exitcode(), method() == "fork" ? -9 : 0);
}

void send_hello(mp::Connection<std::string> sender) { sender.send("hello"); }

TEST_P(Connections, OneWay) {
  auto [receiver, sender] = context().Pipe<std::string>(false);
  EXPECT_TRUE(receiver.readable());
  EXPECT_FALSE(receiver.writable());
  EXPECT_FALSE(sender.readable());
  EXPECT_TRUE(sender.writable());
  EXPECT_EQ(message_of<std::logic_error>([&, &r = receiver] { r.send("x"); }),
            "connection is read-only");
  EXPECT_EQ(message_of<std::logic_error>([&, &s = sender] { s.recv(); }),
            "connection is write-only");
  EXPECT_THROW(sender.poll(), std::logic_error);
  mp::Process process = context().Process(send_hello, std::move(sender));
  process.start();
  EXPECT_EQ(receiver.recv(), "hello");
  process.join();
  EXPECT_THROW(receiver.recv(), mp::EOFError) << "the parent kept no end to send with";
}

void send_over(mp::Connection<mp::Connection<int>> link) {
  mp::Connection<int> inner = link.recv();
  inner.send(77);
}

TEST_P(Connections, ThatTravelOverConnections) {
  auto [ours, theirs] = mp::Pipe<mp::Connection<int>>();
  auto [inner_ours, inner_theirs] = mp::Pipe<int>();
  mp::Process process = context().Process(send_over, std::move(theirs));
  process.start();
  ours.send(inner_theirs);
  inner_theirs.close();
  EXPECT_EQ(inner_ours.recv(), 77);
  process.join();
}

struct Desk {
  mp::Connection<int> left;
  mp::Connection<int> right;
};
void answer_both(Desk desk) {
  desk.left.send(1);
  desk.right.send(2);
}

TEST_P(Connections, WithinAggregates) {
  auto [left, left_end] = mp::Pipe<int>();
  auto [right, right_end] = mp::Pipe<int>();
  mp::Process process =
      context().Process(answer_both, Desk{std::move(left_end), std::move(right_end)});
  process.start();
  EXPECT_EQ(left.recv(), 1);
  EXPECT_EQ(right.recv(), 2);
  process.join();
}

void answer_all(std::vector<mp::Connection<int>> lines) {
  for (std::size_t i = 0; i < lines.size(); ++i) lines[i].send(static_cast<int>(i));
}

TEST_P(Connections, WithinContainers) {
  std::vector<mp::Connection<int>> ours;
  std::vector<mp::Connection<int>> theirs;
  for (int i = 0; i < 3; ++i) {
    auto [one, two] = mp::Pipe<int>();
    ours.push_back(std::move(one));
    theirs.push_back(std::move(two));
  }
  mp::Process process = context().Process(answer_all, std::move(theirs));
  process.start();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ours[static_cast<std::size_t>(i)].recv(), i);
  process.join();
}

void send_large(mp::Connection<std::string> link, std::size_t size) {
  link.send(std::string(size, 'z'));
}

TEST_P(Connections, LargeValues) {
  for (std::size_t size : {0, 16'000, 17'000, 70'000, 10'000'000}) {
    EXPECT_EQ(ask<std::string>(context(), send_large, size), std::string(size, 'z'));
  }
}

struct Album {
  std::vector<std::vector<int>> pictures;
  std::map<int, std::string> captions;
  std::string title;

  bool operator==(const Album&) const = default;
};

// Of so many pictures and captions that are large each, or together.
Album album(int pictures, int captions) {
  Album made{{}, {}, std::string(80'000, 't')};
  for (int i = 0; i < pictures; ++i) made.pictures.emplace_back(30'000, i);
  for (int i = 0; i < captions; ++i) made.captions[i] = "caption " + std::to_string(i);
  return made;
}

void answer_albums(mp::Connection<Album> link) {
  while (true) {
    Album received = link.recv();
    if (received.title.empty()) return;
    link.send(received);
  }
}

TEST_P(Connections, ValuesOfLargeParts) {
  shm::Commons::Usage before = shm::Commons::instance().usage();
  {
    auto [ours, theirs] = context().Pipe<Album>();
    mp::Process process = context().Process(answer_albums, std::move(theirs));
    process.start();
    for (auto [pictures, captions] : {std::pair(0, 0), {3, 3}, {5, 20'000}, {20, 20'000}}) {
      Album sent = album(pictures, captions);
      for (int i = 0; i < 2; ++i) {
        ours.send(sent);
        EXPECT_TRUE(ours.recv() == sent);
      }
    }
    ours.send({});
    process.join();
  }
  EXPECT_EQ(shm::Commons::instance().usage().arena.in_use, before.arena.in_use);
}

TEST_P(Connections, ManyLargeValuesAheadOfTheReceiver) {
  auto [ours, theirs] = mp::Pipe<std::string>();
  for (char c = 'a'; c <= 'z'; ++c) ours.send(std::string(300'000, c));
  for (char c = 'a'; c <= 'z'; ++c) EXPECT_EQ(theirs.recv(), std::string(300'000, c));
}

TEST_P(Connections, WhatIsNotReceivedIsNotLeft) {
  shm::Commons::Usage before = shm::Commons::instance().usage();
  {
    auto [ours, theirs] = mp::Pipe<std::string>();
    ours.send(std::string(300'000, 'x'));
    theirs.close();
    try {
      ours.send(std::string(300'000, 'x'));
      ADD_FAILURE() << "nobody can receive it";
    } catch (const mp::OsError& error) {
      EXPECT_EQ(error.code(), std::errc::broken_pipe);
    }
  }
  EXPECT_EQ(shm::Commons::instance().usage().arena.in_use, before.arena.in_use);
}

void receive_until_killed(mp::Connection<std::string> link) {
  while (true) link.send(link.recv());
}

TEST_P(Connections, OneWhoIsKilledLeavesNothing) {
  shm::Commons::Usage before = shm::Commons::instance().usage();
  for (int round = 0; round < 5; ++round) {
    auto [ours, theirs] = mp::Pipe<std::string>();
    mp::Process process = context().Process(receive_until_killed, std::move(theirs));
    process.start();
    for (int i = 0; i < 3 + round; ++i) ours.send(std::string(200'000, 'x'));
    EXPECT_EQ(ours.recv().size(), 200'000U);
    process.kill();
    process.join();
    EXPECT_EQ(process.exitcode(), -9);
  }
  EXPECT_EQ(shm::Commons::instance().usage().arena.in_use, before.arena.in_use);
}

TEST_P(Connections, PollWaitsNoLongerThanForAValue) {
  using namespace std::chrono_literals;
  auto [one, two] = mp::Pipe<int>();
  EXPECT_FALSE(one.poll());
  EXPECT_FALSE(one.poll(1ms));
  std::thread sender([&two = two] { two.send(1); });
  EXPECT_TRUE(one.poll(1h));
  EXPECT_TRUE(one.poll());
  sender.join();
  EXPECT_EQ(one.recv(), 1);
  two.close();
  EXPECT_TRUE(one.poll(1h)) << "the end is something to receive";
  EXPECT_THROW(one.recv(), mp::EOFError);
}

TEST_P(Connections, ClosedOnes) {
  auto [one, two] = mp::Pipe<int>();
  two.close();
  EXPECT_TRUE(two.closed());
  EXPECT_EQ(message_of<std::logic_error>([&, &t = two] { t.send(1); }), "handle is closed");
  EXPECT_EQ(message_of<std::logic_error>([&, &t = two] { t.fileno(); }), "handle is closed");
  try {
    one.send(1);
    ADD_FAILURE() << "nobody can receive it";
  } catch (const mp::OsError& error) {
    EXPECT_EQ(error.code(), std::errc::broken_pipe);
  }
  two.close();
}

}  // namespace
}  // namespace procession::tests
