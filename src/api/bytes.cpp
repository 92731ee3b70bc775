// SPDX-License-Identifier: Apache-2.0
#include "api/bytes.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "os/module.hpp"

namespace procession::detail {

Outgoing::Outgoing() : state_(std::make_unique<State>()) {}
Outgoing::~Outgoing() = default;

void Outgoing::write(const void* data, std::size_t size) {
  base::BytesView piece(static_cast<const std::byte*>(data), size);
  if (state_->task) {
    state_->task->append(piece);
  } else {
    state_->writer.append(piece);
  }
}

void Outgoing::descriptor(int fd) {
  if (!state_->takes_descriptors) {
    throw std::invalid_argument(
        "a connection can't travel with a task of a pool: give it to the workers by their "
        "initializer, or to a Process");
  }
  state_->fds.push_back(fd);
}

void Outgoing::function(AnyFunction address) {
  os::FunctionPlace place = os::locate(reinterpret_cast<const void*>(address));
  base::ByteWriter writer;
  writer.text(place.module);
  writer.text(place.build);
  writer.number(place.offset);
  base::Bytes record = writer.take();
  write(record.data(), record.size());
}

void Incoming::State::cut(std::span<const base::BytesView> contents) {
  api::cut(rest, contents, pieces);
  rest = pieces[next_piece++];
}

void Incoming::State::read(std::span<std::byte> to) {
  while (to.size() > rest.size() && next_piece < pieces.size()) {
    std::copy(rest.begin(), rest.end(), to.begin());
    to = to.subspan(rest.size());
    rest = pieces[next_piece++];
  }
  base::BytesView last = take(to.size());
  if (!last.empty()) std::memcpy(to.data(), last.data(), last.size());
}

base::BytesView Incoming::State::take(std::uint64_t size) {
  while (rest.empty() && size > 0 && next_piece < pieces.size()) rest = pieces[next_piece++];
  if (size > rest.size()) throw std::runtime_error("procession: a message ends early");
  base::BytesView head = rest.first(size);
  rest = rest.subspan(size);
  return head;
}

std::string Incoming::State::text() {
  std::uint64_t size = 0;
  std::memcpy(&size, take(sizeof size).data(), sizeof size);
  return std::string(base::as_text(take(size)));
}

Incoming::Incoming(std::unique_ptr<State> state) : state_(std::move(state)) {}
Incoming::~Incoming() = default;

void Incoming::read(void* data, std::size_t size) {
  state_->read({static_cast<std::byte*>(data), size});
}

void Incoming::expect(std::uint64_t count) {
  constexpr std::uint64_t kBelieved = 1 << 16;
  std::uint64_t left = state_->rest.size();
  for (std::size_t i = state_->next_piece; left < count && i < state_->pieces.size(); ++i) {
    left += state_->pieces[i].size();
  }
  if (count > std::max(left, kBelieved)) {
    throw std::runtime_error("procession: a message ends early");
  }
}

int Incoming::descriptor() {
  if (state_->next_fd >= state_->fds.size()) {
    throw std::runtime_error("procession: a message lacks descriptors");
  }
  return state_->fds[state_->next_fd++].release();
}

AnyFunction Incoming::function() {
  os::FunctionPlace place;
  place.module = state_->text();
  place.build = state_->text();
  read(&place.offset, sizeof place.offset);
  return reinterpret_cast<AnyFunction>(os::resolve(place));
}

}  // namespace procession::detail
