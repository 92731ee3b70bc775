// SPDX-License-Identifier: Apache-2.0
#include <any>
#include <filesystem>
#include <fstream>
#include <future>
#include <regex>

#include "every_method.hpp"

namespace shop {

class PaymentError : public std::runtime_error {  // not registered
 public:
  using std::runtime_error::runtime_error;
};

class StockError : public std::exception {  // registered, and serialisable
 public:
  explicit StockError(int left = 0) : left_(left), text_("only " + std::to_string(left)) {}
  const char* what() const noexcept override { return text_.c_str(); }
  int left() const { return left_; }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(left_, text_);
  }

 private:
  int left_;
  std::string text_;
};

class PriceError : public std::runtime_error {  // registered, rebuilt from its message
 public:
  using std::runtime_error::runtime_error;
};

struct Refund {  // not an exception class at all
  int amount = 0;
};

const bool kRegistered = procession::register_exception<StockError>() &&
                         procession::register_exception<PriceError>() &&
                         procession::register_exception<Refund>();

}  // namespace shop

namespace procession::tests {
namespace {

class Exceptions : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Exceptions);

// Runs a target that throws, and gives what came of it.
template <class... Arguments>
std::exception_ptr thrown_by(const mp::Context& context, Arguments&&... arguments) {
  mp::Process process = context.Process(std::forward<Arguments>(arguments)...);
  EXPECT_EQ(process.exception(), nullptr);
  errors_of([&] {
    process.start();
    process.join();
  });
  EXPECT_EQ(process.exitcode(), 1);
  return process.exception();
}

template <class Error>
void throw_error(std::string message) {
  throw Error(message);
}

template <class Error>
void expect_kept(const mp::Context& context) {
  std::exception_ptr thrown = thrown_by(context, throw_error<Error>, "the message");
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    EXPECT_EQ(typeid(error), typeid(Error));
    EXPECT_STREQ(error.what(), "the message");
  }
}

TEST_P(Exceptions, OfTheStandardKeepTheirType) {
  expect_kept<std::runtime_error>(context());
  expect_kept<std::logic_error>(context());
  expect_kept<std::invalid_argument>(context());
  expect_kept<std::out_of_range>(context());
  expect_kept<std::overflow_error>(context());
  EXPECT_EQ(message_of<std::bad_alloc>(thrown_by(context(), [] { throw std::bad_alloc(); })),
            std::bad_alloc().what());
  message_of<std::bad_any_cast>(thrown_by(context(), [] { std::any_cast<int>(std::any(1.5)); }));
  message_of<std::out_of_range>(thrown_by(context(), [] { std::vector<int>().at(3); }));
}

TEST_P(Exceptions, WithACodeKeepIt) {
  std::exception_ptr thrown = thrown_by(
      context(), [] { throw std::system_error(ENOENT, std::generic_category(), "open the file"); });
  EXPECT_EQ(message_of<std::system_error>(thrown), "open the file: No such file or directory");
  thrown =
      thrown_by(context(), [] { static_cast<void>(std::filesystem::file_size("/no/such/file")); });
  try {
    std::rethrow_exception(thrown);
  } catch (const std::filesystem::filesystem_error& error) {
    EXPECT_EQ(error.path1(), "/no/such/file");
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
    std::string expected;
    try {
      static_cast<void>(std::filesystem::file_size("/no/such/file"));
    } catch (const std::exception& original) {
      expected = original.what();
    }
    EXPECT_EQ(error.what(), expected);
  }
  thrown = thrown_by(context(), [] {
    std::ifstream file("/no/such/file");
    file.exceptions(std::ios::failbit);
  });
  message_of<std::ios_base::failure>(thrown);
  thrown = thrown_by(context(), [] { std::future<int>().get(); });
  EXPECT_EQ(message_of<std::future_error>(thrown),
            std::future_error(std::future_errc::no_state).what());
  thrown = thrown_by(context(), [] { throw std::regex_error(std::regex_constants::error_brack); });
  EXPECT_EQ(message_of<std::regex_error>(thrown),
            std::regex_error(std::regex_constants::error_brack).what());
}

TEST_P(Exceptions, RegisteredOnesKeepTheirType) {
  try {
    std::rethrow_exception(thrown_by(context(), [] { throw shop::StockError(3); }));
  } catch (const shop::StockError& error) {
    EXPECT_EQ(error.left(), 3);
    EXPECT_STREQ(error.what(), "only 3");
  }
  EXPECT_EQ(message_of<shop::PriceError>(
                thrown_by(context(), [] { throw shop::PriceError("too high"); })),
            "too high");
  try {
    std::rethrow_exception(thrown_by(context(), [] { throw shop::Refund{12}; }));
  } catch (const shop::Refund& refund) {
    EXPECT_EQ(refund.amount, 12);
  }
}

TEST_P(Exceptions, OthersTellTheirTypeAndMessage) {
  try {
    std::rethrow_exception(thrown_by(context(), throw_error<shop::PaymentError>, "no funds"));
  } catch (const mp::RemoteError& error) {
    EXPECT_EQ(error.type_name(), "shop::PaymentError");
    EXPECT_STREQ(error.what(), "no funds");
  }
  try {
    std::rethrow_exception(thrown_by(context(), [] { throw 42; }));
  } catch (const mp::RemoteError& error) {
    EXPECT_EQ(error.type_name(), "int");
    EXPECT_STREQ(error.what(), "42");
  }
}

TEST_P(Exceptions, AreOneReadableLine) {
  mp::Process process = context().Process(throw_error<std::runtime_error>, "first\nsecond\n");
  std::string said = errors_of([&] {
    process.start();
    process.join();
  });
  EXPECT_EQ(said, "Process " + process.name() + ": std::runtime_error: first\\nsecond\n");
  EXPECT_EQ(message_of<std::runtime_error>(process.exception()), "first\nsecond\n");
}

TEST_P(Exceptions, WithALongMessage) {
  std::string message(100'000, 'm');
  EXPECT_EQ(message_of<std::runtime_error>(
                thrown_by(context(), throw_error<std::runtime_error>, message)),
            message);
}

void start_failing_grandchild(std::string method) {
  mp::Process process = mp::get_context(method).Process(throw_error<shop::PaymentError>, "deep");
  process.start();
  process.join();
  std::rethrow_exception(process.exception());
}

TEST_P(Exceptions, OfAGrandchildStayWhatTheyWere) {
  try {
    std::rethrow_exception(thrown_by(context(), start_failing_grandchild, method()));
  } catch (const mp::RemoteError& error) {
    EXPECT_EQ(error.type_name(), "shop::PaymentError");
    EXPECT_STREQ(error.what(), "deep");
  }
}

}  // namespace
}  // namespace procession::tests
