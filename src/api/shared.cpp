// SPDX-License-Identifier: Apache-2.0
#include "api/shared.hpp"

#include <stdexcept>
#include <vector>

#include "api/bytes.hpp"
#include "api/entry.hpp"

namespace procession {

namespace api {

namespace {

// Only ever used by the one thread that static initialisers run in.
std::vector<std::weak_ptr<AnyShared>>& to_be_made() {
  static auto* list = new std::vector<std::weak_ptr<AnyShared>>;
  return *list;
}

}  // namespace

void AnyShared::make_in_time() {
  if (in_static_initialisers()) {
    to_be_made().push_back(weak_from_this());
  } else {
    make();
  }
}

void AnyShared::make_all() {
  for (const std::weak_ptr<AnyShared>& thing : std::exchange(to_be_made(), {})) {
    if (std::shared_ptr<AnyShared> there = thing.lock()) there->make();
  }
}

namespace {

void write_name(detail::Outgoing& out, const shm::CellName& name) {
  out.write(&name.session, sizeof name.session);
  out.write(&name.offset, sizeof name.offset);
  out.write(&name.generation, sizeof name.generation);
}

// Whether whoever sees the message through keeps the cell, too.
bool is_held(detail::Outgoing& out, const std::shared_ptr<shm::Cell>& cell) {
  if (out.state().held) out.state().held->push_back(cell);
  return out.state().held != nullptr;
}

}  // namespace

bool send_once(detail::Outgoing& out, const std::shared_ptr<shm::Cell>& cell) {
  bool held = is_held(out, cell);
  if (!held) cell->keep_until_found();
  write_name(out, cell->name());
  return !held;
}

void send(detail::Outgoing& out, const std::shared_ptr<AnyShared>& thing) {
  if (!thing) return write_name(out, {});
  const std::shared_ptr<shm::Cell>& cell = thing->cell();
  if (!is_held(out, cell)) cell->keep();
  write_name(out, cell->name());
}

std::optional<shm::CellName> receive(detail::Incoming& in) {
  shm::CellName name;
  in.read(&name.session, sizeof name.session);
  in.read(&name.offset, sizeof name.offset);
  in.read(&name.generation, sizeof name.generation);
  if (name.session == 0) return std::nullopt;
  return name;
}

}  // namespace api

namespace detail {

void throw_invalid_handle() {
  throw std::invalid_argument("the handle is closed, or was moved from");
}

}  // namespace detail

}  // namespace procession
