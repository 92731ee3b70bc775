// SPDX-License-Identifier: Apache-2.0
#include "queues.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>
#include <vector>

#include "arena_buffer.hpp"
#include "large_value.hpp"
#include "memory_error.hpp"
#include "plain.hpp"
#include "shm/message_queue.hpp"
#include "sink.hpp"
#include "synchronize.hpp"
#include "wait.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

constexpr int kPlainBudget = 64;

// How a message's payload is to be read.
enum Form : std::uint32_t {
  kPlainValue,  // bindings/plain
  kBytes,       // the content of bytes
  kPickle,
  kByRule,         // a pickle by procession.reduction's rule, with a block for each of its buffers
  kInBlock = 256,  // the payload is the first block
};

base::BytesView bytes_of(nb::handle bytes) {
  return std::as_bytes(std::span(PyBytes_AS_STRING(bytes.ptr()),
                                 static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))));
}

nb::bytes to_bytes(base::BytesView bytes) {
  return nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// glibc gives the end of the heap back once 128 KiB of it are free: a message of 64 kB would be new
// memory each time, at 16 page faults. It keeps twice the size of the largest block that it has mapped
// and unmapped by itself: this is one.
void let_malloc_keep_large_blocks() {
  static const bool done = [] {
    void* volatile block = std::malloc(4 * shm::MessageQueue::kMostInline);
    std::free(block);
    return true;
  }();
  static_cast<void>(done);
}

// A descriptor's duplicate that belongs to the queue; -1 is none.
os::Fd duplicate_of(int fd) { return fd < 0 ? os::Fd() : os::duplicate(fd); }

class Queue {
 public:
  explicit Queue(std::uint32_t most) : queue_(most) { find_tools(); }
  Queue(const shm::CellName& name, int bell, int room_bell)
      : queue_(name, duplicate_of(bell), duplicate_of(room_bell)) {
    find_tools();
  }

  shm::MessageQueue& engine() noexcept { return queue_; }

  // What can't be pickled raises here, and nothing is put. False: it was full for so long.
  bool put(nb::handle object, bool block, std::optional<double> timeout) {
    bool is_put = with_memory_error("a message of this queue",
                                    [&] { return put_or_wait(object, block, timeout); });
    has_put_ |= is_put;
    return is_put;
  }

  // Whether this object has put something in.
  bool has_put() const noexcept { return has_put_; }

 private:
  bool put_or_wait(nb::handle object, bool block, std::optional<double> timeout) {
    Outgoing message = message_of(object);
    auto put_now = [&] { return queue_.try_put(message.form, message.payload(), message.blocks); };
    if (put_now()) return message.is_sent();
    if (!block || (timeout && *timeout <= 0)) return false;
    base::Bytes own;
    if (message.form == kPlainValue) {  // others put meanwhile
      own.assign(message.plain.begin(), message.plain.end());
      message.plain = own;
    }
    base::Deadline deadline = deadline_of(true, timeout);
    while (true) {
      base::Waited waited = wait_with_signals([&] { return queue_.wait_for_room(deadline); },
                                              base::Waited::kInterrupted, [] {});
      if (put_now()) return message.is_sent();
      if (waited == base::Waited::kTimedOut) return false;
    }
  }

 public:
  // queue.Empty if there was nothing for so long.
  nb::object get(bool block, std::optional<double> timeout) {
    // One that another thread, which this one waits for, is at work on is another one.
    shm::MessageQueue::Message message = std::exchange(received_, {});
    if (!queue_.try_get(message)) {
      bool is_there = block && (!timeout || *timeout > 0) && wait_and_get(message, timeout);
      if (!is_there) {
        received_ = std::move(message);
        PyErr_SetNone(empty_.ptr());
        throw nb::python_error();
      }
    }
    if (message.lost > 0) support_.attr("tell_of_losses")(std::exchange(message.lost, 0));
    nb::object object = object_of(message);
    if (message.payload.capacity() <= kKept) received_ = std::move(message);
    return object;
  }

  void task_done() {
    if (!queue_.task_done()) {
      throw nb::value_error("task_done() called too many times");
    }
  }

  bool join(std::optional<double> timeout) {
    base::Deadline deadline = deadline_of(true, timeout);
    return wait_with_signals([&] { return queue_.wait_for_all_done(deadline); },
                             base::Waited::kInterrupted, [] {}) == base::Waited::kReady;
  }

  bool poll(double timeout) {
    if (queue_.size() > 0) return true;
    if (timeout == 0) return false;
    base::Deadline deadline = timeout < 0 ? base::Deadline::never() : deadline_of(true, timeout);
    return wait_with_signals([&] { return queue_.wait_for_message(deadline); },
                             base::Waited::kInterrupted, [] {}) == base::Waited::kReady;
  }

 private:
  static constexpr std::size_t kLarge = 32 << 10;
  static constexpr std::size_t kKept = 2 * shm::MessageQueue::kMostInline;

  // A message on its way: its blocks are this process's until they are sent.
  struct Outgoing {
    Outgoing() = default;
    Outgoing(Outgoing&& other) noexcept
        : form(other.form),
          plain(other.plain),
          pickle(std::move(other.pickle)),
          blocks(std::exchange(other.blocks, {})) {}
    ~Outgoing() {
      for (shm::Block block : blocks) shm::Commons::instance().release(block.offset);
    }
    base::BytesView payload() const {
      if (form & kInBlock) return {};
      return pickle.is_valid() ? bytes_of(pickle) : plain;
    }
    bool is_sent() {
      blocks.clear();
      return true;
    }

    std::uint32_t form = kPlainValue;
    base::BytesView plain;
    nb::object pickle;
    std::vector<shm::Block> blocks;
  };

  void find_tools() {
    nb::module_ pickle = nb::module_::import_("_pickle");
    dumps_ = pickle.attr("dumps");
    loads_ = pickle.attr("loads");
    support_ = nb::module_::import_("procession.queues");
    empty_ = nb::module_::import_("queue").attr("Empty");
  }

  Outgoing message_of(nb::handle object) {
    Outgoing message;
    if (PyBytes_CheckExact(object.ptr()) &&
        bytes_of(object).size() <= shm::MessageQueue::kMostInline) {
      message.form = kBytes;
      message.plain = bytes_of(object);  // the caller's, while put() lasts
      return message;
    }
    scratch_.clear();
    int budget = kPlainBudget;
    if (write_plain(object.ptr(), budget, scratch_)) {
      message.plain = scratch_;
      return message;
    }
    if (auto value = LargeValue::of(object.ptr(), shm::MessageQueue::kMostInline)) {
      message.form = kPickle | kInBlock;
      add_block(message.blocks, value->pieces());
      return message;
    }
    budget = kPlainBudget;
    if (is_plain(object.ptr(), budget)) {
      message.form = kPickle;
      message.pickle = dumps_(object, 5);
    } else {
      message.form = kByRule;
      nb::object parts = support_.attr("dump")(object);
      message.pickle = parts[0];
      for (nb::handle buffer : nb::borrow<nb::list>(parts[1])) {
        BufferView view(buffer);
        add_block(message.blocks, std::array{view.bytes()});
      }
    }
    if (bytes_of(message.pickle).size() > shm::MessageQueue::kMostInline) {
      message.form |= kInBlock;
      add_block(message.blocks, std::array{bytes_of(message.pickle)});
      std::rotate(message.blocks.rbegin(), message.blocks.rbegin() + 1, message.blocks.rend());
    }
    return message;
  }

  static void add_block(std::vector<shm::Block>& blocks, std::span<const base::BytesView> pieces) {
    nb::gil_scoped_release unlocked;
    shm::Commons& commons = shm::Commons::instance();
    std::size_t size = 0;
    for (base::BytesView piece : pieces) size += piece.size();
    blocks.push_back(commons.allocate(size));
    std::span<std::byte> room = commons.bytes(blocks.back());
    for (base::BytesView piece : pieces) {
      shm::copy(room, piece);
      room = room.subspan(piece.size());
    }
  }

  bool wait_and_get(shm::MessageQueue::Message& message, std::optional<double> timeout) {
    base::Deadline deadline = deadline_of(true, timeout);
    while (true) {
      base::Waited waited = wait_with_signals([&] { return queue_.wait_for_message(deadline); },
                                              base::Waited::kInterrupted, [] {});
      if (queue_.try_get(message)) return true;
      if (waited == base::Waited::kTimedOut) return false;
    }
  }

  nb::object object_of(shm::MessageQueue::Message& message) {
    base::BytesView payload = message.payload;
    if (message.form == kPlainValue) return read_plain(payload);
    if (message.form == kBytes) {
      if (payload.size() >= kLarge) let_malloc_keep_large_blocks();
      return to_bytes(payload);
    }
    nb::list buffers;
    for (shm::Block block : std::exchange(message.blocks, {})) {
      auto release = [offset = block.offset] { shm::Commons::instance().release(offset); };
      buffers.append(
          nb::cast(new ArenaBuffer(shm::Commons::instance().bytes(block), std::move(release)),
                   nb::rv_policy::take_ownership));
    }
    nb::object pickle;
    if (message.form & kInBlock) {
      pickle = buffers[0];
      PyList_SetSlice(buffers.ptr(), 0, 1, nullptr);
    } else {
      pickle = to_bytes(payload);
    }
    if ((message.form & ~kInBlock) == kPickle) return loads_(pickle);
    return support_.attr("load")(pickle, buffers, message.producer);
  }

  shm::MessageQueue queue_;
  bool has_put_ = false;
  base::Bytes scratch_;
  shm::MessageQueue::Message received_;  // its memory is used again
  nb::object dumps_;
  nb::object loads_;
  nb::object support_;
  nb::object empty_;
};

}  // namespace

void bind_queues(nb::module_& module) {
  nb::class_<Queue>(module, "MessageQueue", "Objects on their way between processes.")
      .def(nb::init<std::uint32_t>(), "most"_a)
      .def_static(
          "find",
          [](const nb::tuple& name, int bell, int room_bell) {
            return new Queue(cell_name(name), bell, room_bell);
          },
          "name"_a, "bell"_a, "room_bell"_a, "The queue of that name; the bells are duplicated.")
      .def_prop_ro("name", [](Queue& self) { return to_python(self.engine().cell()->name()); })
      .def_prop_ro("bells",
                   [](Queue& self) {
                     return nb::make_tuple(self.engine().bell_fd().get(),
                                           self.engine().room_bell_fd().get());
                   })
      .def(
          "keep", [](Queue& self) { self.engine().cell()->keep(); },
          "Have it stay until the session ends, since its name is on its way to somebody.")
      .def("put", &Queue::put, "obj"_a.none(), "block"_a = true, "timeout"_a.none() = nb::none(),
           "Put it in; False if there was no room for so long.")
      .def("get", &Queue::get, "block"_a = true, "timeout"_a.none() = nb::none(),
           "The oldest; queue.Empty if there was none for so long.")
      .def_prop_ro("has_put", &Queue::has_put, "Whether something was put in by this object.")
      .def("size", [](Queue& self) { return self.engine().size(); })
      .def("poll", &Queue::poll, "timeout"_a, "Whether there is something; < 0: wait for ever.")
      .def("task_done", &Queue::task_done)
      .def("unfinished", [](Queue& self) { return self.engine().unfinished(); })
      .def("join", &Queue::join, "timeout"_a.none() = nb::none())
      .def(
          "bell", [](Queue& self) { return self.engine().bell(); },
          "A descriptor that is readable while there is something.")
      .def(
          "room_bell", [](Queue& self) { return self.engine().room_bell(); },
          "A descriptor that is readable while there is room.");
}

}  // namespace procession::bindings
