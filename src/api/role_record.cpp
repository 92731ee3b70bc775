// SPDX-License-Identifier: Apache-2.0
#include "api/role_record.hpp"

#include <algorithm>

namespace procession::api {

void write_role(detail::Outgoing& out, const Role& role) {
  base::ByteWriter fields;
  fields.text(role.kind);
  fields.text(role.parent_name);
  fields.number(role.daemon);
  fields.number(static_cast<std::uint8_t>(role.default_method));
  fields.bytes(std::as_bytes(std::span(role.identity)));
  base::ByteWriter record;
  record.bytes(fields.take());
  out.state().writer.append(record.take());
}

Role read_role(detail::Incoming::State& in) {
  std::uint64_t size = 0;
  std::memcpy(&size, in.take(sizeof size).data(), sizeof size);
  base::ByteReader fields(in.take(size));
  Role role;
  role.kind = fields.text();
  role.parent_name = fields.text();
  role.daemon = fields.number<bool>();
  role.default_method = static_cast<StartMethod>(fields.number<std::uint8_t>());
  base::BytesView identity = fields.bytes();
  role.identity.resize(identity.size() / sizeof(int));
  std::ranges::copy(identity.first(role.identity.size() * sizeof(int)),
                    std::as_writable_bytes(std::span(role.identity)).begin());
  return role;
}

}  // namespace procession::api
