// SPDX-License-Identifier: Apache-2.0
#include "procession/shared_memory.hpp"

#include "api/shared.hpp"
#include "shm/shared_bytes.hpp"

namespace procession {

namespace detail {

struct BytesState : api::Shared<shm::SharedBytes> {};
template struct Travel<BytesState>;

}  // namespace detail

using detail::BytesState;

SharedMemory::SharedMemory(std::size_t size)
    : SharedHandle(size == 0 ? nullptr : BytesState::make_new<BytesState>([size](auto& slot) {
        slot.emplace(size);
      })) {}

std::span<std::byte> SharedMemory::bytes() const {
  return valid() ? state().engine().bytes() : std::span<std::byte>();
}

}  // namespace procession
