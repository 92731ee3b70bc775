// SPDX-License-Identifier: Apache-2.0
#include "api/failure.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

#include "api/bytes.hpp"
#include "api/standard_exceptions.hpp"
#include "procession/error.hpp"

namespace procession {

namespace api {

namespace {

using detail::Decoder;
using detail::Encoder;
using detail::ExceptionCodec;

struct Codecs {
  std::mutex mutex;
  std::map<std::string, ExceptionCodec> by_type;  // by mangled name, the same in both processes
};

Codecs& codecs() {
  // Never destroyed: children end, and are looked at, while static destructors run.
  static auto* codecs = [] {
    auto* made = new Codecs;
    add_standard_exceptions(made->by_type);
    return made;
  }();
  return *codecs;
}

const ExceptionCodec* find_codec(const std::string& type) {
  std::lock_guard lock(codecs().mutex);
  auto found = codecs().by_type.find(type);
  return found == codecs().by_type.end() ? nullptr : &found->second;
}

}  // namespace

std::string readable_name(const std::string& mangled) {
  int status = 0;
  std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), std::free);
  return name ? name.get() : mangled;
}

namespace {

// What can be told of any exception.
struct Thrown {
  std::string type;  // mangled
  std::string readable_type;
  std::string message;
};

Thrown look_at(const std::exception_ptr& thrown) {
  Thrown seen;
  try {
    std::rethrow_exception(thrown);
  } catch (const RemoteError& error) {  // of a grandchild: it keeps what it was
    return {typeid(error).name(), error.type_name(), error.what()};
  } catch (const std::exception& error) {
    seen = {typeid(error).name(), {}, error.what()};
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    seen.type = type ? type->name() : "";
    try {
      throw;
    } catch (const std::string& message) {
      seen.message = message;
    } catch (const char* message) {
      seen.message = message ? message : "";
    } catch (int number) {
      seen.message = std::to_string(number);
    } catch (...) {
    }
  }
  seen.readable_type = readable_name(seen.type);
  return seen;
}

void write_text(detail::Outgoing& out, const std::string& text) {
  std::uint64_t size = text.size();
  out.write(&size, sizeof size);
  out.write(text.data(), text.size());
}

}  // namespace

channel::Payload encode_failure(const std::exception_ptr& thrown) {
  Thrown seen = look_at(thrown);
  auto with_type = [&](const std::string& type) {
    auto out = std::make_unique<detail::Outgoing>();
    write_text(*out, type);
    write_text(*out, seen.readable_type);
    write_text(*out, seen.message);
    return out;
  };
  if (const ExceptionCodec* codec = find_codec(seen.type)) {
    try {
      auto out = with_type(seen.type);
      Encoder encoder(*out);
      if (codec->encode(thrown, encoder)) return out->state().writer.take();
    } catch (...) {  // it can't be sent: what can be told of it is
    }
  }
  return with_type("")->state().writer.take();
}

std::exception_ptr decode_failure(base::BytesView bytes) {
  channel::Payload payload;
  payload.inline_bytes.assign(bytes.begin(), bytes.end());
  return decode_failure(std::move(payload));
}

std::exception_ptr decode_failure(channel::Payload payload) {
  auto state = std::make_unique<detail::Incoming::State>(std::move(payload), std::vector<os::Fd>());
  std::string type = state->text();
  Thrown seen{type, state->text(), state->text()};
  if (const ExceptionCodec* codec = type.empty() ? nullptr : find_codec(type)) {
    try {
      detail::Incoming in(std::move(state));
      Decoder decoder(in);
      return codec->decode(decoder);
    } catch (...) {  // as if it were not registered
    }
  }
  return std::make_exception_ptr(RemoteError(seen.readable_type, seen.message));
}

std::string describe(const std::exception_ptr& thrown) {
  Thrown seen = look_at(thrown);
  std::string line = seen.readable_type;
  if (!seen.message.empty()) line += ": " + seen.message;
  for (std::size_t at = 0; (at = line.find('\n', at)) != std::string::npos;) {
    line.replace(at, 1, at + 1 == line.size() ? "" : "\\n");
  }
  return line;
}

}  // namespace api

namespace detail {

bool register_exception(const std::type_info& type, ExceptionCodec codec) {
  api::Codecs& codecs = api::codecs();
  std::lock_guard lock(codecs.mutex);
  return codecs.by_type.insert_or_assign(type.name(), std::move(codec)).second;
}

}  // namespace detail

OsError::OsError(int error_number, const std::string& attempted)
    : std::system_error(error_number, std::generic_category(), attempted) {}
OsError::~OsError() = default;

EOFError::EOFError() : std::runtime_error("the other end of the connection is closed") {}
EOFError::~EOFError() = default;

RemoteError::RemoteError(std::string type_name, const std::string& message)
    : std::runtime_error(message), type_name_(std::move(type_name)) {}
RemoteError::~RemoteError() = default;

WorkerDied::WorkerDied(const std::string& message, int pid, int exitcode, std::string function)
    : std::runtime_error(message), pid_(pid), exitcode_(exitcode), function_(std::move(function)) {}
WorkerDied::~WorkerDied() = default;

BrokenProcessPool::BrokenProcessPool(const std::string& message, std::exception_ptr cause)
    : std::runtime_error(message), cause_(std::move(cause)) {}
BrokenProcessPool::~BrokenProcessPool() = default;

CancelledError::CancelledError() : CancelledError("the task was cancelled") {}
CancelledError::CancelledError(const std::string& message) : std::runtime_error(message) {}
CancelledError::~CancelledError() = default;

TimeoutError::TimeoutError(const std::string& message) : std::runtime_error(message) {}
TimeoutError::~TimeoutError() = default;

BrokenBarrierError::BrokenBarrierError(const std::string& message) : std::runtime_error(message) {}
BrokenBarrierError::~BrokenBarrierError() = default;

}  // namespace procession
