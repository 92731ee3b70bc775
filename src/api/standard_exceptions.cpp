// SPDX-License-Identifier: Apache-2.0
#include "api/standard_exceptions.hpp"

#include <any>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <stdexcept>
#include <system_error>
#include <typeinfo>
#include <variant>

namespace procession::api {

namespace {

using detail::Decoder;
using detail::Encoder;
using detail::ExceptionCodec;
using Codecs = std::map<std::string, ExceptionCodec>;

// `write(error, encoder)` and `read(decoder)`, which returns the error, for exactly this type.
template <class Error, class Write, class Read>
void add(Codecs& codecs, Write write, Read read) {
  codecs[typeid(Error).name()] = {
      [write](const std::exception_ptr& thrown, Encoder& encoder) {
        try {
          std::rethrow_exception(thrown);
        } catch (const Error& error) {
          return write(error, encoder);
        }
      },
      [read](Decoder& decoder) { return std::make_exception_ptr(read(decoder)); }};
}

template <class Error>
void add_with_message(Codecs& codecs) {
  add<Error>(
      codecs,
      [](const Error& error, Encoder& encoder) {
        encoder(std::string(error.what()));
        return true;
      },
      [](Decoder& decoder) { return Error(detail::decode<std::string>(decoder)); });
}

template <class Error>
void add_without_state(Codecs& codecs) {
  add<Error>(
      codecs, [](const Error&, Encoder&) { return true; }, [](Decoder&) { return Error(); });
}

// The categories that have the same address in every process of a program: none. They are found by
// name; an unknown one has the error travel as a RemoteError.
const std::error_category* find_category(const std::string& name) {
  for (const auto* category : {&std::generic_category(), &std::system_category(),
                               &std::iostream_category(), &std::future_category()}) {
    if (name == category->name()) return category;
  }
  return nullptr;
}

bool write_code(const std::error_code& code, Encoder& encoder) {
  std::string category = code.category().name();
  encoder(category, code.value());
  return find_category(category) != nullptr;
}

std::error_code read_code(Decoder& decoder) {
  auto category = detail::decode<std::string>(decoder);
  const std::error_category* known = find_category(category);
  if (!known) throw std::runtime_error("procession: an error of an unknown category");
  return {detail::decode<int>(decoder), *known};
}

// What was said before the ": <the code's message>" that the constructor appends.
std::string own_words(const std::system_error& error) {
  std::string all = error.std::system_error::what();
  std::string ending = error.code().message();
  if (all == ending) return {};
  ending.insert(0, ": ");
  return all.ends_with(ending) ? all.substr(0, all.size() - ending.size()) : all;
}

template <class Error>
Error with_own_words(const std::string& words, std::error_code code) {
  if constexpr (std::is_same_v<Error, std::system_error>) {
    return words.empty() ? Error(code) : Error(code, words);
  } else if constexpr (std::is_same_v<Error, OsError>) {
    return Error(code.value(), words);
  } else {
    return Error(words, code);
  }
}

template <class Error>
void add_with_code(Codecs& codecs) {
  add<Error>(
      codecs,
      [](const Error& error, Encoder& encoder) {
        encoder(own_words(error));
        return write_code(error.code(), encoder);
      },
      [](Decoder& decoder) {
        auto words = detail::decode<std::string>(decoder);
        return with_own_words<Error>(words, read_code(decoder));
      });
}

void add_errors_with_code(Codecs& codecs) {
  add_with_code<std::system_error>(codecs);
  add_with_code<std::ios_base::failure>(codecs);
  add_with_code<OsError>(codecs);
  // What libstdc++'s streams throw is a class of its own that derives from it.
  codecs["St13__ios_failure"] = codecs[typeid(std::ios_base::failure).name()];
  using FilesystemError = std::filesystem::filesystem_error;
  add<FilesystemError>(
      codecs,
      [](const FilesystemError& error, Encoder& encoder) {
        encoder(own_words(error), error.path1().string(), error.path2().string());
        return write_code(error.code(), encoder);
      },
      [](Decoder& decoder) {
        auto words = detail::decode<std::string>(decoder);
        auto path1 = detail::decode<std::string>(decoder);
        auto path2 = detail::decode<std::string>(decoder);
        std::error_code code = read_code(decoder);
        if (!path2.empty()) return FilesystemError(words, path1, path2, code);
        if (!path1.empty()) return FilesystemError(words, path1, code);
        return FilesystemError(words, code);
      });
  add<std::future_error>(
      codecs,
      [](const std::future_error& error, Encoder& encoder) {
        return write_code(error.code(), encoder);
      },
      [](Decoder& decoder) {
        return std::future_error(static_cast<std::future_errc>(read_code(decoder).value()));
      });
  add<std::regex_error>(
      codecs,
      [](const std::regex_error& error, Encoder& encoder) {
        encoder(static_cast<int>(error.code()));
        return true;
      },
      [](Decoder& decoder) {
        constexpr int kCodes = 16;  // that its enumeration has room for
        int code = detail::decode<int>(decoder);
        if (code < 0 || code >= kCodes) throw std::runtime_error("procession: no regex_error");
        return std::regex_error(static_cast<std::regex_constants::error_type>(code));
      });
}

void add_remote_error(Codecs& codecs) {
  add<RemoteError>(
      codecs,
      [](const RemoteError& error, Encoder& encoder) {
        encoder(error.type_name(), std::string(error.what()));
        return true;
      },
      [](Decoder& decoder) {
        auto type_name = detail::decode<std::string>(decoder);
        return RemoteError(type_name, detail::decode<std::string>(decoder));
      });
}

void add_errors_of_pools(Codecs& codecs) {
  add<WorkerDied>(
      codecs,
      [](const WorkerDied& error, Encoder& encoder) {
        encoder(std::string(error.what()), error.pid(), error.exitcode(), error.function());
        return true;
      },
      [](Decoder& decoder) {
        auto message = detail::decode<std::string>(decoder);
        int pid = detail::decode<int>(decoder);
        int exitcode = detail::decode<int>(decoder);
        return WorkerDied(message, pid, exitcode, detail::decode<std::string>(decoder));
      });
  add_with_message<BrokenProcessPool>(codecs);
  add_with_message<CancelledError>(codecs);
  add_with_message<TimeoutError>(codecs);
}

}  // namespace

void add_standard_exceptions(Codecs& codecs) {
  add_with_message<std::logic_error>(codecs);
  add_with_message<std::invalid_argument>(codecs);
  add_with_message<std::domain_error>(codecs);
  add_with_message<std::length_error>(codecs);
  add_with_message<std::out_of_range>(codecs);
  add_with_message<std::runtime_error>(codecs);
  add_with_message<std::range_error>(codecs);
  add_with_message<std::overflow_error>(codecs);
  add_with_message<std::underflow_error>(codecs);
  add_without_state<std::exception>(codecs);
  add_without_state<std::bad_exception>(codecs);
  add_without_state<std::bad_alloc>(codecs);
  add_without_state<std::bad_array_new_length>(codecs);
  add_without_state<std::bad_cast>(codecs);
  add_without_state<std::bad_typeid>(codecs);
  add_without_state<std::bad_any_cast>(codecs);
  add_without_state<std::bad_function_call>(codecs);
  add_without_state<std::bad_optional_access>(codecs);
  add_without_state<std::bad_variant_access>(codecs);
  add_without_state<std::bad_weak_ptr>(codecs);
  add_without_state<EOFError>(codecs);
  add_with_message<BrokenBarrierError>(codecs);
  add_errors_with_code(codecs);
  add_remote_error(codecs);
  add_errors_of_pools(codecs);
}

}  // namespace procession::api
