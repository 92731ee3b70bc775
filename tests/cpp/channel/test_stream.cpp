// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "base/error.hpp"
#include "channel/patience.hpp"
#include "channel/stream.hpp"
#include "leftovers.hpp"
#include "os/poll.hpp"

namespace procession::channel {
namespace {

constexpr std::size_t kAll = std::size_t{1} << 40;

std::string bytes(std::initializer_list<int> numbers) {
  std::string text;
  for (int number : numbers) text.push_back(static_cast<char>(number));
  return text;
}

// Each kind of stream, and each read and written as if nothing were known of it.
struct Way {
  const char* name;
  bool is_pipe;
  bool is_known;
};

class Streams : public tests::LeavesNothing, public ::testing::WithParamInterface<Way> {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);
    LeavesNothing::SetUp();
    std::tie(reader_, writer_) = GetParam().is_pipe ? os::pipe_pair() : os::socket_pair();
  }

  void TearDown() override {
    reader_.reset();
    writer_.reset();
    LeavesNothing::TearDown();
  }

  static StreamEnd end(const os::Fd& fd) {
    return {fd.get(), GetParam().is_known ? os::stream_kind(fd.get()) : os::StreamKind::kOther};
  }

  void write_raw(const std::string& text) {
    ASSERT_EQ(::write(writer_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  std::string read_raw() {
    std::string text(1 << 16, '\0');
    text.resize(static_cast<std::size_t>(::read(reader_.get(), text.data(), text.size())));
    return text;
  }

  void send(const std::string& text) {
    Outgoing message(base::as_bytes(text));
    while (message.write(end(writer_)) == Step::kNothing) {
      os::wait_writable(writer_.get(), base::Deadline::never());
    }
  }

  // Reads on as far as it goes.
  Step read(std::size_t most = kAll) {
    Step step = incoming_.read(end(reader_), most);
    if (step != Step::kSized) return step;
    room_.assign(incoming_.size(), '?');
    incoming_.give_room(std::as_writable_bytes(std::span(room_.data(), room_.size())));
    return incoming_.read(end(reader_), most);
  }

  std::string receive() {
    Step step = read();
    while (step == Step::kNothing) {
      os::wait_readable(reader_.get(), base::Deadline::never());
      step = read();
    }
    EXPECT_EQ(step, Step::kDone);
    return room_;
  }

  os::Fd reader_;
  os::Fd writer_;
  Incoming incoming_;
  std::string room_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, Streams,
                         ::testing::Values(Way{"Socket", false, true}, Way{"Pipe", true, true},
                                           Way{"UnknownSocket", false, false},
                                           Way{"UnknownPipe", true, false}),
                         [](const auto& way) { return way.param.name; });

TEST_P(Streams, CarryMessagesOfEverySize) {
  for (std::size_t size : {0, 1, 5, 4092, 4096, 65'536, 5'000'000}) {
    std::string text(size, static_cast<char>('a' + size % 26));
    std::thread sender([&] { send(text); });
    EXPECT_EQ(receive(), text) << size;
    EXPECT_EQ(incoming_.size(), size);
    sender.join();
  }
}

TEST_P(Streams, HaveTheFormOfMultiprocessing) {
  send("abc");
  EXPECT_EQ(read_raw(), bytes({0, 0, 0, 3}) + "abc");
  send("");
  EXPECT_EQ(read_raw(), bytes({0, 0, 0, 0}));
  send(std::string(300, 'x'));
  EXPECT_EQ(read_raw(), bytes({0, 0, 1, 44}) + std::string(300, 'x'));
  write_raw(bytes({0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 2}) + "hi");
  EXPECT_EQ(receive(), "hi");
}

// Nothing else is there in the memory that is named here: what is looked at is the header.
TEST_P(Streams, OfMoreThanTwoGigabytesSayTheirLengthInEightBytes) {
  std::size_t size = (std::size_t{1} << 31) + 5;
  Outgoing message(base::BytesView(static_cast<const std::byte*>(nullptr), size));
  EXPECT_EQ(message.left(), size + 12);
  write_raw(bytes({0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x80, 0, 0, 5}));
  EXPECT_EQ(incoming_.read(end(reader_), kAll), Step::kSized);
  EXPECT_EQ(incoming_.size(), size);
}

TEST_P(Streams, GoOnWhereAMessageWasCut) {
  std::string wire = bytes({0, 0, 0, 3}) + "abc" + bytes({0, 0, 0, 1}) + "d";
  EXPECT_EQ(read(), Step::kNothing);
  EXPECT_FALSE(incoming_.has_begun());
  for (std::size_t at = 0; at + 1 < 7; ++at) {
    write_raw(wire.substr(at, 1));
    EXPECT_EQ(read(), Step::kNothing);
    EXPECT_TRUE(incoming_.has_begun());
  }
  write_raw(wire.substr(6));
  EXPECT_EQ(read(), Step::kDone);
  EXPECT_EQ(room_, "abc");
  EXPECT_FALSE(incoming_.has_begun());
  EXPECT_EQ(receive(), "d");
  EXPECT_EQ(read(), Step::kNothing);
}

TEST_P(Streams, ReadNoMoreThanIsAMessages) {
  send("abc");
  send("rest");
  EXPECT_EQ(receive(), "abc");
  EXPECT_EQ(read_raw(), bytes({0, 0, 0, 4}) + "rest");
}

TEST_P(Streams, ReadNoMoreThanTheyShouldAtOnce) {
  send(std::string(2000, 'x'));
  EXPECT_EQ(read(1500), Step::kNothing);
  EXPECT_EQ(read(1500), Step::kDone);
  EXPECT_EQ(room_, std::string(2000, 'x'));
}

TEST_P(Streams, AWriterThatCantGoOnDoesSoLater) {
  std::string text(3'000'000, 'x');
  text.back() = 'y';
  Outgoing message(base::as_bytes(text));
  EXPECT_EQ(message.write(end(writer_)), Step::kNothing);
  EXPECT_TRUE(message.has_begun());
  EXPECT_LT(message.left(), text.size());
  message.keep_rest();
  std::string wanted = std::exchange(text, std::string(text.size(), 'z'));
  Outgoing moved = std::move(message);
  Step sent = Step::kNothing;
  Step got = Step::kNothing;
  while (got == Step::kNothing) {
    if (sent == Step::kNothing) sent = moved.write(end(writer_));
    got = read();
  }
  EXPECT_EQ(sent, Step::kDone);
  EXPECT_EQ(got, Step::kDone);
  EXPECT_EQ(moved.left(), 0U);
  EXPECT_EQ(room_, wanted);
}

TEST_P(Streams, AFullOneTakesNothing) {
  std::string text(100, 'x');
  while (true) {
    Outgoing message(base::as_bytes(text));
    Step step = message.write(end(writer_));
    if (step == Step::kDone) continue;
    EXPECT_EQ(step, Step::kNothing);
    break;
  }
}

TEST_P(Streams, TheEndComesAfterWhatWasSent) {
  send("last");
  writer_.reset();
  EXPECT_EQ(receive(), "last");
  EXPECT_EQ(read(), Step::kPeerGone);
  EXPECT_FALSE(incoming_.has_begun());
}

TEST_P(Streams, AnEndWithinAMessageIsSeen) {
  write_raw(bytes({0, 0, 0, 9}) + "abc");
  writer_.reset();
  EXPECT_EQ(read(), Step::kPeerGone);
  EXPECT_TRUE(incoming_.has_begun());
}

TEST_P(Streams, WithoutAReaderTakeNothing) {
  reader_.reset();
  Outgoing message(base::as_bytes("x"));
  EXPECT_EQ(message.write(end(writer_)), Step::kPeerGone);
}

TEST_P(Streams, ALengthThatIsNoneIsSeen) {
  write_raw(bytes({0xff, 0xff, 0xff, 0xfe}));
  EXPECT_EQ(read(), Step::kBadLength);
}

TEST_P(Streams, AClosedDescriptorIsAnError) {
  os::Fd closed = os::duplicate(reader_.get());
  StreamEnd gone = end(closed);
  closed.reset();
  EXPECT_THROW(incoming_.read(gone, kAll), base::OsError);
  Outgoing message(base::as_bytes("x"));
  EXPECT_THROW(message.write(gone), base::OsError);
}

// A reader that closes with bytes unread is told of as an error, once, and before the end.
TEST(Sockets, APeersAnswerIsReadThoughItReadNothing) {
  auto [one, two] = os::socket_pair();
  ASSERT_EQ(::write(one.get(), "?", 1), 1);
  ASSERT_EQ(::write(two.get(), "!", 1), 1);
  two.reset();
  std::byte byte{};
  os::Moved moved = os::try_read(one.get(), os::StreamKind::kSocket, std::span(&byte, 1));
  EXPECT_EQ(moved.flow, os::Flow::kSome);
  EXPECT_EQ(byte, std::byte{'!'});
  moved = os::try_read(one.get(), os::StreamKind::kSocket, std::span(&byte, 1));
  EXPECT_EQ(moved.flow, os::Flow::kPeerGone);
}

TEST(Pairs, AreRefusedWithoutDescriptors) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_THROW(os::socket_pair(), base::OsError);
  EXPECT_THROW(os::pipe_pair(), base::OsError);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

int looks(Patience& patience, int needed) {
  int made = 0;
  patience.look([&] { return ++made == needed; });
  return made;
}

TEST(PatienceTest, EndsWhenItIsInVainAndComesBackWhenItHelps) {
  if (os::affine_cpus() < 2) GTEST_SKIP() << "nobody looks with one CPU";
  Patience patience;
  EXPECT_GT(looks(patience, -1), 1);
  int without = 0;
  for (int i = 0; i < 200; ++i) without += looks(patience, -1) == 0 ? 1 : 0;
  EXPECT_GT(without, 150);
  EXPECT_LT(without, 199);  // it is tried anew now and then
  int found = 0;
  for (int i = 0; i < 100; ++i) found += looks(patience, 1);
  EXPECT_GT(found, 60);  // from the first trial on
  EXPECT_EQ(looks(patience, 1), 1);
}

}  // namespace
}  // namespace procession::channel
