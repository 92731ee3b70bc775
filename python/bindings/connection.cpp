// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <nanobind/stl/shared_ptr.h>

#include <climits>
#include <cstring>
#include <exception>
#include <memory>
#include <utility>

#include "connection_io.hpp"
#include "heap_type.hpp"
#include "os/fd.hpp"
#include "os/poll.hpp"
#include "synchronize.hpp"

namespace nb = nanobind;

namespace procession::bindings {

namespace {

struct ConnectionObject {
  PyObject_HEAD Connection state;
};

Connection& connection_of(PyObject* self) {
  return reinterpret_cast<ConnectionObject*>(self)->state;
}

// --- methods

int init(PyObject* self, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"handle", "readable", "writable", nullptr};
  PyObject* handle = nullptr;
  int readable = 1;
  int writable = 1;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|pp:Connection", const_cast<char**>(names),
                                   &handle, &readable, &writable)) {
    return -1;
  }
  PyObject* number = PyNumber_Index(handle);
  if (!number) return -1;
  long fd = PyLong_AsLong(number);
  Py_DECREF(number);
  if (fd == -1 && PyErr_Occurred()) return -1;
  if (fd < 0 || fd > INT_MAX) {
    PyErr_SetString(PyExc_ValueError, "invalid handle");
    return -1;
  }
  if (!readable && !writable) {
    PyErr_SetString(PyExc_ValueError, "at least one of `readable` and `writable` must be True");
    return -1;
  }
  Connection& connection = connection_of(self);
  close_fd(connection);
  connection.end = {static_cast<int>(fd), os::stream_kind(static_cast<int>(fd))};
  connection.readable = readable != 0;
  connection.writable = writable != 0;
  return 0;
}

PyObject* send_object(PyObject* self, PyObject* object) {
  Connection& connection = connection_of(self);
  if (!check_writable(connection)) return nullptr;
  PackedMessage message;
  bool sent =
      message.pack(object, connection.pipe) && check_open(connection) && send(connection, message);
  return sent ? Py_NewRef(Py_None) : nullptr;
}

PyObject* recv_object(PyObject* self, PyObject*) {
  Connection& connection = connection_of(self);
  if (!check_readable(connection)) return nullptr;
  Message message;
  return receive(connection, message, Reads::kObjects) ? unpickled(std::move(message)) : nullptr;
}

PyObject* send_bytes(PyObject* self, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"buf", "offset", "size", nullptr};
  PyObject* object = nullptr;
  Py_ssize_t offset = 0;
  PyObject* size_object = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|nO:send_bytes", const_cast<char**>(names),
                                   &object, &offset, &size_object)) {
    return nullptr;
  }
  Connection& connection = connection_of(self);
  View view;
  if (!check_writable(connection) || !view.of(object)) return nullptr;
  auto length = static_cast<Py_ssize_t>(view.bytes().size());
  const char* wrong = offset < 0        ? "offset is negative"
                      : length < offset ? "buffer length < offset"
                                        : nullptr;
  Py_ssize_t size = length - offset;
  if (!wrong && size_object != Py_None) {
    size = PyNumber_AsSsize_t(size_object, PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred()) return nullptr;
    wrong = size < 0                 ? "size is negative"
            : size > length - offset ? "buffer length < offset + size"
                                     : nullptr;
  }
  if (wrong) {
    PyErr_SetString(PyExc_ValueError, wrong);
    return nullptr;
  }
  auto body =
      view.bytes().subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
  PackedMessage message;
  bool sent =
      message.pack(body, connection.pipe) && check_open(connection) && send(connection, message);
  return sent ? Py_NewRef(Py_None) : nullptr;
}

PyObject* recv_bytes(PyObject* self, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"maxlength", nullptr};
  PyObject* limit = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:recv_bytes", const_cast<char**>(names),
                                   &limit)) {
    return nullptr;
  }
  Connection& connection = connection_of(self);
  if (!check_readable(connection)) return nullptr;
  Py_ssize_t longest = -1;
  if (limit != Py_None) {
    longest = PyNumber_AsSsize_t(limit, nullptr);
    if (longest == -1 && PyErr_Occurred()) return nullptr;
    if (longest < 0) {
      PyErr_SetString(PyExc_ValueError, "negative maxlength");
      return nullptr;
    }
  }
  Message message;
  bool is_there = receive(connection, message, Reads::kBytes, longest);
  return is_there ? to_bytes(std::move(message)) : nullptr;
}

PyObject* raise_too_short(Message message) {
  static PyObject* const type = attribute("multiprocessing.context", "BufferTooShort");
  nb::object bytes = nb::steal(to_bytes(std::move(message)));
  if (!type || !bytes.is_valid()) return nullptr;
  nb::object error = nb::steal(PyObject_CallOneArg(type, bytes.ptr()));
  if (error.is_valid()) PyErr_SetObject(type, error.ptr());
  return nullptr;
}

PyObject* recv_bytes_into(PyObject* self, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"buf", "offset", nullptr};
  PyObject* object = nullptr;
  Py_ssize_t offset = 0;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|n:recv_bytes_into", const_cast<char**>(names),
                                   &object, &offset)) {
    return nullptr;
  }
  Connection& connection = connection_of(self);
  View view;
  if (!check_readable(connection) || !view.of_writable(object)) return nullptr;
  if (offset < 0 || static_cast<std::size_t>(offset) > view.bytes().size()) {
    PyErr_SetString(PyExc_ValueError, offset < 0 ? "negative offset" : "offset too large");
    return nullptr;
  }
  Message message;
  if (!receive(connection, message, Reads::kBytes)) return nullptr;
  std::span<std::byte> room = view.bytes().subspan(static_cast<std::size_t>(offset));
  auto size = static_cast<std::size_t>(message.size);
  if (size > room.size()) return raise_too_short(std::move(message));
  if (size > 0) std::memcpy(room.data(), content(message).data(), size);
  return PyLong_FromSize_t(size);
}

PyObject* poll(PyObject* self, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"timeout", nullptr};
  PyObject* timeout = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:poll", const_cast<char**>(names),
                                   &timeout)) {
    return nullptr;
  }
  Connection& connection = connection_of(self);
  if (!check_readable(connection)) return nullptr;
  double seconds = 0;
  if (timeout && timeout != Py_None) {
    seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) return nullptr;
  }
  if (os::is_readable(connection.end.fd)) Py_RETURN_TRUE;
  if (timeout != Py_None && !(seconds > 0)) Py_RETURN_FALSE;
  auto deadline = timeout == Py_None
                      ? base::Deadline::never()
                      : base::Deadline::after(std::chrono::duration<double>(seconds));
  Ready ready = wait_readable(connection, deadline);
  return ready == Ready::kFailed ? nullptr : PyBool_FromLong(ready == Ready::kYes);
}

PyObject* fileno(PyObject* self, PyObject*) {
  Connection& connection = connection_of(self);
  return check_open(connection) ? PyLong_FromLong(connection.end.fd) : nullptr;
}

PyObject* close(PyObject* self, PyObject*) {
  close_fd(connection_of(self));
  Py_RETURN_NONE;
}

// --- for event loops: nothing here waits

PyObject* try_recv_object(PyObject* self, PyObject*) {
  Connection& connection = connection_of(self);
  if (!check_readable(connection)) return nullptr;
  Message message;
  Got got = try_receive(connection, message, Reads::kObjects);
  if (got == Got::kNothing) Py_RETURN_NONE;
  PyObject* object = got == Got::kMessage ? unpickled(std::move(message)) : nullptr;
  if (!object) return nullptr;
  PyObject* found = PyTuple_Pack(1, object);
  Py_DECREF(object);
  return found;
}

PyObject* pack(PyObject* self, PyObject* object) {
  Connection& connection = connection_of(self);
  if (!check_writable(connection)) return nullptr;
  auto message = std::make_unique<PackedMessage>();
  if (!message->pack(object, connection.pipe)) return nullptr;
  return nb::cast(message.release(), nb::rv_policy::take_ownership).release().ptr();
}

PyObject* truth_of(Sent sent) {
  return sent == Sent::kFailed ? nullptr : PyBool_FromLong(sent == Sent::kAll);
}

PyObject* try_finish_message(PyObject* self, PyObject*) {
  Connection& connection = connection_of(self);
  return check_writable(connection) ? truth_of(try_finish(connection)) : nullptr;
}

PyObject* try_send_packed(PyObject* self, PyObject* packed) {
  Connection& connection = connection_of(self);
  PackedMessage* message = nullptr;
  if (!check_writable(connection)) return nullptr;
  if (!nb::try_cast(nb::handle(packed), message) || !message) {
    PyErr_SetString(PyExc_TypeError, "a packed message is wanted");
    return nullptr;
  }
  return truth_of(try_send(connection, *message));
}

// --- blocks beside the stream

PyObject* share_blocks(PyObject* self, PyObject* other) {
  try {
    auto blocks = std::make_shared<shm::PipeBlocks>();
    connection_of(self).pipe = PipeEnd(blocks, 0);
    connection_of(other).pipe = PipeEnd(blocks, 1);
  } catch (const std::exception&) {  // no memory for it: all goes through the stream
  }
  Py_RETURN_NONE;
}

PyObject* find_blocks(PyObject* self, PyObject* args) {
  PyObject* name = nullptr;
  int end = 0;
  int arrives = 0;
  if (!PyArg_ParseTuple(args, "O!ip:_find_blocks", &PyTuple_Type, &name, &end, &arrives)) {
    return nullptr;
  }
  try {
    PipeEnd& pipe = connection_of(self).pipe;
    pipe = PipeEnd(cell_name(nb::borrow<nb::tuple>(name)), end);
    if (arrives) pipe.arrive();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* get_blocks(PyObject* self, void*) {
  PipeEnd& pipe = connection_of(self).pipe;
  if (!pipe.blocks()) Py_RETURN_NONE;
  return nb::make_tuple(nb::cast(pipe.shared()), pipe.end()).release().ptr();
}

// --- attributes, as the standard's methods read and write them

PyObject* get_handle(PyObject* self, void*) {
  int fd = connection_of(self).end.fd;
  return fd < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(fd);
}

// Whoever takes or gives a descriptor by this answers for the old one.
int set_handle(PyObject* self, PyObject* value, void*) {
  int fd = -1;
  if (value && value != Py_None) {
    fd = PyObject_AsFileDescriptor(value);
    if (fd < 0) return -1;
  }
  Connection& connection = connection_of(self);
  connection.end = {fd, fd < 0 ? os::StreamKind::kOther : os::stream_kind(fd)};
  drop_incoming(connection);
  connection.unfinished.reset();
  connection.pipe = {};
  return 0;
}

template <bool Connection::*flag>
PyObject* get_flag(PyObject* self, void*) {
  return PyBool_FromLong(connection_of(self).*flag);
}

template <bool Connection::*flag>
int set_flag(PyObject* self, PyObject* value, void*) {
  int truth = value ? PyObject_IsTrue(value) : 0;
  if (truth >= 0) connection_of(self).*flag = truth != 0;
  return truth < 0 ? -1 : 0;
}

PyObject* get_closed(PyObject* self, void*) {
  return PyBool_FromLong(connection_of(self).end.fd < 0);
}

PyObject* get_has_begun(PyObject* self, void*) {
  const Connection& connection = connection_of(self);
  return PyBool_FromLong(connection.incoming.has_begun() || connection.unfinished.has_value());
}

// --- the type

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self) new (&connection_of(self)) Connection();
  return self;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return 0;
}

// Stands in for the standard's __del__, which would close the descriptor by itself.
void finalize(PyObject* self) { close_fd(connection_of(self)); }

void dealloc(PyObject* self) {
  dealloc_collected(self, [](PyObject* connection) {
    close_fd(connection_of(connection));
    connection_of(connection).~Connection();
  });
}

template <class Function>
PyCFunction method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"send", &send_object, METH_O, "Send a (picklable) object."},
    {"recv", &recv_object, METH_NOARGS, "Receive an object."},
    {"send_bytes", method(&send_bytes), METH_VARARGS | METH_KEYWORDS,
     "Send `size` bytes of a bytes-like object, from `offset` on."},
    {"recv_bytes", method(&recv_bytes), METH_VARARGS | METH_KEYWORDS,
     "Receive a message of bytes; OSError if it is longer than `maxlength`."},
    {"recv_bytes_into", method(&recv_bytes_into), METH_VARARGS | METH_KEYWORDS,
     "Receive a message of bytes into a writable buffer from `offset` on; return its size."},
    {"poll", method(&poll), METH_VARARGS | METH_KEYWORDS,
     "Whether there is anything to receive, at the latest after `timeout` seconds (None: never)."},
    {"fileno", &fileno, METH_NOARGS, "The descriptor."},
    {"close", &close, METH_NOARGS, "Close the connection. May be called again."},
    {"_close", &close, METH_NOARGS, nullptr},
    {"_pack", &pack, METH_O, "What `send` would send, for `_try_send`."},
    {"_try_recv", &try_recv_object, METH_NOARGS,
     "A received object in a tuple of one, or None if no message has arrived in full."},
    {"_try_send", &try_send_packed, METH_O,
     "False if nothing of a message could be sent; else `_try_finish` may have to follow."},
    {"_try_finish", &try_finish_message, METH_NOARGS,
     "Whether all has been sent of a message that had begun."},
    {"_share_blocks", &share_blocks, METH_O,
     "Have large messages between this one and another, the ends of a new pipe, go by blocks."},
    {"_find_blocks", &find_blocks, METH_VARARGS,
     "The same for one end, made of what `_blocks` told of it: the name, which end it is, and "
     "whether\n"
     "the name is one that was kept until it is found."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef attributes[] = {
    {"closed", &get_closed, nullptr, "Whether the connection is closed.", nullptr},
    {"readable", &get_flag<&Connection::readable>, nullptr, "Whether it can receive.", nullptr},
    {"writable", &get_flag<&Connection::writable>, nullptr, "Whether it can send.", nullptr},
    {"_handle", &get_handle, &set_handle, nullptr, nullptr},
    {"_readable", &get_flag<&Connection::readable>, &set_flag<&Connection::readable>, nullptr,
     nullptr},
    {"_writable", &get_flag<&Connection::writable>, &set_flag<&Connection::writable>, nullptr,
     nullptr},
    {"_blocks", &get_blocks, nullptr, "None, or a PipeBlocks and which end of it this is.",
     nullptr},
    {"_has_begun", &get_has_begun, nullptr, "Whether it holds a part of a message.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A connection; procession.connection makes a Connection of it.")},
    {Py_tp_new, reinterpret_cast<void*>(&make)},
    {Py_tp_init, reinterpret_cast<void*>(&init)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_finalize, reinterpret_cast<void*>(&finalize)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, nullptr}};

PyType_Spec spec = {"procession._engine.ConnectionBase", sizeof(ConnectionObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

nb::tuple pair(std::pair<os::Fd, os::Fd> ends) {
  nb::object first = nb::steal(PyLong_FromLong(ends.first.get()));
  nb::object second = nb::steal(PyLong_FromLong(ends.second.get()));
  nb::tuple both = nb::make_tuple(first, second);
  (void)ends.first.release();
  (void)ends.second.release();
  return both;
}

}  // namespace

void bind_connection(nb::module_& module) {
  add_heap_type(module, "ConnectionBase", spec);
  module.def(
      "redeem",
      [](nb::handle claim) {
        nb::object object = nb::steal(redeemed(claim.ptr()));
        if (!object.is_valid()) throw nb::python_error();
        return object;
      },
      nb::arg("claim"), "The message that a claim is to, which came through a connection.");
  nb::class_<PackedMessage>(module, "PackedMessage", "A message on its way out.");
  nb::class_<shm::PipeBlocks>(module, "PipeBlocks", "Large messages on their way beside a pipe.")
      .def_prop_ro("name", [](shm::PipeBlocks& self) { return to_python(self.cell()->name()); })
      .def(
          "keep_until_found", [](shm::PipeBlocks& self) { self.cell()->keep_until_found(); },
          "Have it stay until its name, which is on its way to somebody, has arrived there.");
  module.def(
      "pipe", [](bool duplex) { return pair(duplex ? os::socket_pair() : os::pipe_pair()); },
      nb::arg("duplex"), "Two connected descriptors; of a simplex pipe the first one reads.");
}

}  // namespace procession::bindings
