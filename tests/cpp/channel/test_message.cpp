// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "channel/message.hpp"
#include "leftovers.hpp"

namespace procession::channel {
namespace {

using Messages = tests::LeavesNothing;

Payload payload_of(const std::string& text) {
  PayloadWriter writer;
  writer.append(base::as_bytes(text));
  return writer.take();
}

std::string text_of(Message message) {
  PayloadReader reader(std::move(message.payload));
  return std::string(base::as_text(reader.bytes()));
}

TEST_F(Messages, OfEverySizeArriveWhole) {
  auto [one, two] = os::packet_pair();
  for (std::size_t size : {0, 1, 16 * 1024, 16 * 1024 + 1, 64 * 1024, 5 * 1024 * 1024}) {
    std::string text(size, static_cast<char>('a' + size % 26));
    ASSERT_TRUE(send_message(one, 9, payload_of(text)));
    Message message;
    ASSERT_EQ(receive_message(two, message, true), os::Received::kPacket);
    EXPECT_EQ(message.kind, 9U);
    EXPECT_TRUE(message.fds.empty());
    EXPECT_EQ(text_of(std::move(message)), text) << size;
  }
}

TEST_F(Messages, CarryAnyNumberOfDescriptorsInOrder) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit wide{before.rlim_max, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &wide);
  auto [one, two] = os::packet_pair();
  for (std::size_t count : {1, 252, 253, 254, 506, 507, 600}) {
    std::vector<os::Fd> files;
    std::vector<int> fds;
    for (std::size_t i = 0; i < count; ++i) {
      files.push_back(os::create_memfd(std::to_string(i).c_str()));
      fds.push_back(files.back().get());
    }
    ASSERT_TRUE(send_message(one, 1, payload_of(std::string(20'000, 'x')), fds));
    Message message;
    ASSERT_EQ(receive_message(two, message, false), os::Received::kPacket) << count;
    ASSERT_EQ(message.fds.size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      std::string link(200, '\0');
      std::string path = "/proc/self/fd/" + std::to_string(message.fds[i].get());
      link.resize(static_cast<std::size_t>(::readlink(path.c_str(), link.data(), link.size())));
      EXPECT_EQ(link, "/memfd:" + std::to_string(i) + " (deleted)");
    }
    EXPECT_EQ(text_of(std::move(message)).size(), 20'000U);
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(Messages, ASenderThatDiesInTheMiddleLeavesNoMessage) {
  auto [one, two] = os::packet_pair();
  os::Fd null = os::open_null();
  std::vector<int> fds{null.get()};
  const std::uint32_t header[] = {1, 2};  // kMoreFds: the rest never comes
  os::send_packet(one, std::as_bytes(std::span(header)), {}, fds);
  one.reset();
  Message message;
  EXPECT_EQ(receive_message(two, message, true), os::Received::kEndOfFile);
}

TEST_F(Messages, ABrokenOneIsAnError) {
  auto [one, two] = os::packet_pair();
  Message message;
  os::send_packet(one, base::as_bytes("x"), {}, {});
  EXPECT_THROW(receive_message(two, message, true), std::runtime_error);
  const std::uint32_t header[] = {1, 1};  // kBodyInMemory, without it
  os::send_packet(one, std::as_bytes(std::span(header)), {}, {});
  EXPECT_THROW(receive_message(two, message, true), std::runtime_error);
}

TEST_F(Messages, AFullBufferMakesTheSenderWait) {
  auto [one, two] = os::packet_pair();
  constexpr int kCount = 1000;
  std::thread sender([&one = one] {
    for (int i = 0; i < kCount; ++i) send_message(one, 1, payload_of(std::string(10'000, 'x')));
  });
  for (int i = 0; i < kCount; ++i) {
    Message message;
    EXPECT_EQ(receive_message(two, message, true), os::Received::kPacket);
  }
  sender.join();
}

}  // namespace
}  // namespace procession::channel
