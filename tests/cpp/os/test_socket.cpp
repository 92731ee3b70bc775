// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/error.hpp"
#include "leftovers.hpp"
#include "os/socket.hpp"

namespace procession::os {
namespace {

using Socket = tests::LeavesNothing;

TEST_F(Socket, PacketsKeepTheirBoundaries) {
  auto [one, two] = packet_pair();
  EXPECT_EQ(send_packet(one, base::as_bytes("a"), base::as_bytes("bc"), {}), Sent::kDone);
  EXPECT_EQ(send_packet(one, base::as_bytes("d"), {}, {}), Sent::kDone);
  Packet packet;
  EXPECT_EQ(receive_packet(two, packet, true), Received::kPacket);
  EXPECT_EQ(base::as_text(packet.bytes), "abc");
  EXPECT_EQ(receive_packet(two, packet, true), Received::kPacket);
  EXPECT_EQ(base::as_text(packet.bytes), "d");
  EXPECT_EQ(receive_packet(two, packet, false), Received::kNothing);
}

TEST_F(Socket, ThePeersEndIsSeenOnBothSides) {
  auto [one, two] = packet_pair();
  send_packet(one, base::as_bytes("last"), {}, {});
  one.reset();
  Packet packet;
  EXPECT_EQ(receive_packet(two, packet, true), Received::kPacket);
  EXPECT_EQ(receive_packet(two, packet, true), Received::kEndOfFile);
  EXPECT_EQ(send_packet(two, base::as_bytes("x"), {}, {}), Sent::kPeerGone);
}

TEST_F(Socket, APeerThatLeftOurPacketsUnreadIsAnEnd) {
  auto [one, two] = packet_pair();
  send_packet(two, base::as_bytes("never read"), {}, {});
  one.reset();
  Packet packet;
  EXPECT_EQ(receive_packet(two, packet, true), Received::kEndOfFile);
}

TEST_F(Socket, WhatWasSaidBeforeAnEndWithPacketsUnreadIsHeard) {
  for (bool block : {false, true}) {
    auto [ours, theirs] = packet_pair();
    ASSERT_EQ(send_packet(theirs, base::as_bytes("last words"), {}, {}), Sent::kDone);
    ASSERT_EQ(send_packet(ours, base::as_bytes("unread"), {}, {}), Sent::kDone);
    theirs.reset();
    Packet packet;
    ASSERT_EQ(receive_packet(ours, packet, block), Received::kPacket);
    EXPECT_EQ(base::as_text(packet.bytes), "last words");
    EXPECT_EQ(receive_packet(ours, packet, block), Received::kEndOfFile);
  }
}

TEST_F(Socket, DescriptorsTravelUpToTheKernelsLimit) {
  auto [one, two] = packet_pair();
  Fd null = open_null();
  std::vector<int> fds(kMostFdsPerPacket, null.get());
  EXPECT_EQ(send_packet(one, base::as_bytes("x"), {}, fds), Sent::kDone);
  Packet packet;
  EXPECT_EQ(receive_packet(two, packet, true), Received::kPacket);
  EXPECT_EQ(packet.fds.size(), kMostFdsPerPacket);
}

TEST_F(Socket, DescriptorsThatFindNoPlaceAreAnError) {
  auto [one, two] = packet_pair();
  Fd null = open_null();
  std::vector<int> fds(3, null.get());
  send_packet(one, base::as_bytes("x"), {}, fds);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit tight{static_cast<rlim_t>(null.get()) + 2, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &tight);
  Packet packet;
  EXPECT_THROW(receive_packet(two, packet, true), base::OsError);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(Socket, AnEndThatMayNotSend) {
  auto [one, two] = packet_pair();
  forbid_sending(one);
  EXPECT_EQ(send_packet(one, base::as_bytes("x"), {}, {}), Sent::kPeerGone);
  EXPECT_EQ(send_packet(two, base::as_bytes("x"), {}, {}), Sent::kDone);
}

TEST_F(Socket, OthersAreNoPacketSockets) {
  auto [one, two] = packet_pair();
  EXPECT_TRUE(is_packet_socket(one.get()));
  EXPECT_FALSE(is_packet_socket(open_null().get()));
  EXPECT_FALSE(is_packet_socket(-1));
}

}  // namespace
}  // namespace procession::os
