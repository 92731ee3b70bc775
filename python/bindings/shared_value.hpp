// SPDX-License-Identifier: Apache-2.0
// bindings/shared_value: Python objects as the values of shared containers: plain ones as bindings/plain
// writes them, bytes as they are, others pickled by the project's rule, with the content of arrays
// behind the pickle.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <vector>

#include "base/bytes.hpp"
#include "shm/shared_store.hpp"
#include "sink.hpp"

namespace procession::bindings {

// A value on its way in.
class OutgoingValue {
 public:
  shm::SharedInput input() const { return {form_, pieces_}; }
  std::size_t size() const;

 private:
  friend class ValueTools;
  std::uint32_t form_ = 0;
  base::Bytes bytes_;  // those of the pieces that are nobody else's
  std::vector<nanobind::object> owners_;
  std::vector<std::unique_ptr<BufferView>> views_;
  std::vector<base::BytesView> pieces_;
};

// What makes bytes of objects, and back.
class ValueTools {
 public:
  ValueTools();

  // What can't be pickled raises here.
  OutgoingValue dump(nanobind::handle object) const;

  // Rebuilds one. Arrays are views of the memory of `value`, which they keep.
  nanobind::object load(shm::SharedValue&& value) const;
  nanobind::object load(std::uint32_t form, base::BytesView bytes) const;

  nanobind::object unpickle(base::BytesView pickle) const;

 private:
  nanobind::object load_parts(std::shared_ptr<base::Bytes> bytes) const;

  nanobind::object dumps_;
  nanobind::object loads_;
  nanobind::object support_;
};

}  // namespace procession::bindings
