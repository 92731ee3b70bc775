// SPDX-License-Identifier: Apache-2.0
// Containers of Boost.Interprocess in a SharedMemory.
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <boost/interprocess/indexes/iset_index.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/sync/mutex_family.hpp>
#include <new>

#include "every_method.hpp"

namespace procession::tests {
namespace {

namespace bip = boost::interprocess;

class Containers : public EveryMethod {};
PROCESSION_UNDER_EVERY_METHOD(Containers);

using Segment =
    bip::basic_managed_external_buffer<char, bip::rbtree_best_fit<bip::null_mutex_family>,
                                       bip::iset_index>;
template <class T>
using Allocator = bip::allocator<T, Segment::segment_manager>;
using Text = bip::basic_string<char, std::char_traits<char>, Allocator<char>>;
using Texts = bip::map<int, Text, std::less<>, Allocator<std::pair<const int, Text>>>;

struct Shelf {
  mp::SharedMemory memory{1 << 20};
  mp::Lock lock;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(memory, lock);
  }
};

std::string text(int number) { return std::string(static_cast<std::size_t>(number % 300), 'x'); }

void fill(Shelf shelf, int first, int count) {
  Segment segment(bip::open_only, shelf.memory.bytes().data(), shelf.memory.size());
  Texts& texts = *segment.find<Texts>("texts").first;
  Allocator<char> allocator(segment.get_segment_manager());
  for (int number = first; number < first + count; ++number) {
    std::scoped_lock held(shelf.lock);
    texts.emplace(number, Text(text(number).c_str(), allocator));
    if (number % 3 == 0) texts.erase(number);
  }
}

TEST_P(Containers, AreFilledBySeveralProcessesAtOnce) {
  Shelf shelf;
  Segment segment(bip::create_only, shelf.memory.bytes().data(), shelf.memory.size());
  Texts& texts = *segment.construct<Texts>("texts")(segment.get_segment_manager());
  std::size_t free_before = segment.get_free_memory();
  std::vector<mp::Process> processes;
  for (int first : {0, 10'000}) {
    processes.push_back(context().Process(fill, shelf, first, 1000));
    processes.back().start();
  }
  for (mp::Process& process : processes) {
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  EXPECT_EQ(texts.size(), 2000U - 334 - 333);
  for (const auto& [number, content] : texts) {
    ASSERT_NE(number % 3, 0);
    ASSERT_EQ(std::string(content.c_str()), text(number));
  }
  texts.clear();
  EXPECT_EQ(segment.get_free_memory(), free_before);
}

TEST_P(Containers, AFullMemoryIsAnException) {
  Shelf shelf;
  Segment segment(bip::create_only, shelf.memory.bytes().data(), shelf.memory.size());
  Texts& texts = *segment.construct<Texts>("texts")(segment.get_segment_manager());
  Allocator<char> allocator(segment.get_segment_manager());
  const std::string content(1000, 'x');
  auto fill_up = [&] {
    for (int number = 0;; ++number) texts.emplace(number, Text(content.c_str(), allocator));
  };
  EXPECT_THROW(fill_up(), bip::bad_alloc);
  EXPECT_GT(texts.size(), 900U);
  for (const auto& [number, found] : texts) ASSERT_EQ(std::string(found.c_str()), content);
}

}  // namespace
}  // namespace procession::tests
