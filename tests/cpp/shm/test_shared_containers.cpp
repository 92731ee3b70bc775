// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "forks.hpp"
#include "shm/shared_counter.hpp"
#include "shm/shared_map.hpp"
#include "shm/shared_sequence.hpp"

namespace procession::shm {
namespace {

class SharedMaps : public CommonsTest {};
class SharedSequences : public CommonsTest {};
class SharedCounters : public CommonsTest {};

std::string as_string(base::BytesView bytes) { return std::string(base::as_text(bytes)); }

// A text of that size whose every character follows from the number.
std::string text(std::uint64_t number, std::size_t size) {
  return std::string(size, static_cast<char>('a' + number % 26));
}

bool is_whole(const std::string& value) {
  return value.find_first_not_of(value.empty() ? 'a' : value[0]) == std::string::npos;
}

std::size_t random_size(std::mt19937_64& random) {
  std::uint64_t choice = random() % 100;
  if (choice == 0) return 20'000 + random() % 60'000;  // a block of its own
  return choice < 10 ? random() % 3000 : random() % 60;
}

bool set(SharedMap& map, const std::string& key, const std::string& value,
         const SharedVersion* expected = nullptr) {
  base::BytesView piece = base::as_bytes(value);
  return map.set({base::as_bytes(key)}, {7, {&piece, 1}}, expected);
}

std::string get(SharedMap& map, const std::string& key) {
  SharedValue value;
  if (!map.get(base::as_bytes(key), value)) return "(none)";
  EXPECT_EQ(value.form, 7U);
  return as_string(value.bytes);
}

std::vector<std::string> all(const SharedValues& values) {
  std::vector<std::string> found;
  for (std::size_t i = 0; i < values.items.size(); ++i) found.push_back(as_string(values.at(i)));
  return found;
}

std::vector<std::string> keys(SharedMap& map) {
  SharedValues found;
  map.snapshot(&found, nullptr);
  return all(found);
}

TEST_F(SharedMaps, LikeAMap) {
  SharedMap map;
  std::map<std::string, std::string> model;
  std::mt19937_64 random(1);
  for (int i = 0; i < 60'000; ++i) {
    std::string key = std::to_string(random() % (i < 30'000 ? 2000 : 20));
    switch (random() % 8) {
      case 0: {
        SharedValue value;
        bool was = model.contains(key);
        ASSERT_EQ(map.take(base::as_bytes(key), &value), was);
        if (was) {
          ASSERT_EQ(as_string(value.bytes), model[key]);
        }
        model.erase(key);
        break;
      }
      case 1:
        ASSERT_EQ(get(map, key), model.contains(key) ? model[key] : "(none)");
        ASSERT_EQ(map.contains(base::as_bytes(key)), model.contains(key));
        break;
      case 2: {
        SharedVersion version;
        SharedValue value;
        map.get(base::as_bytes(key), value, &version);
        if (random() % 2) set(map, key, model[key] = text(random(), 5));
        bool same = !model.contains(key) || as_string(value.bytes) == model[key];
        std::string wanted = text(random(), random_size(random));
        if (set(map, key, wanted, &version)) {
          ASSERT_TRUE(same);
          model[key] = wanted;
        }
        break;
      }
      case 3:
        if (random() % 5000 == 0) {
          map.clear();
          model.clear();
        } else if (random() % 20 == 0 && !model.empty()) {
          SharedValue last;
          SharedValue value;
          ASSERT_TRUE(map.take_last(last, value));
          ASSERT_EQ(model[as_string(last.bytes)], as_string(value.bytes));
          model.erase(as_string(last.bytes));
        }
        break;
      default: {
        std::string value = text(random(), random_size(random));
        ASSERT_TRUE(set(map, key, value));
        model[key] = value;
      }
    }
    ASSERT_EQ(map.size(), model.size());
  }
  for (const std::string& key : keys(map)) ASSERT_EQ(get(map, key), model.at(key));
}

TEST_F(SharedMaps, KeysAreInTheOrderInWhichTheyCame) {
  SharedMap map;
  for (const char* key : {"c", "a", "b", "d"}) set(map, key, "x");
  set(map, "c", "y");
  map.take(base::as_bytes("a"));
  set(map, "a", "z");
  EXPECT_EQ(keys(map), (std::vector<std::string>{"c", "b", "d", "a"}));
  base::BytesView piece = base::as_bytes("1");
  map.set({base::as_bytes("e"), base::as_bytes("E")}, {7, {&piece, 1}});
  SharedValue key;
  SharedValue value;
  EXPECT_TRUE(map.take_last(key, value));
  EXPECT_EQ(as_string(key.bytes), "E");
  EXPECT_EQ(key.form, 1U);
}

TEST_F(SharedMaps, MemoryIsGivenBack) {
  std::uint64_t before = Commons::instance().usage().arena.in_use;
  {
    SharedMap map;
    std::uint64_t empty = Commons::instance().usage().arena.in_use;
    for (int i = 0; i < 20'000; ++i) set(map, std::to_string(i), text(7, i % 100 ? 40 : 30'000));
    EXPECT_GT(Commons::instance().usage().arena.in_use, empty + 6'000'000);
    for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(map.take(base::as_bytes(std::to_string(i))));
    EXPECT_LT(Commons::instance().usage().arena.in_use, empty + 100'000);
    for (int i = 0; i < 100; ++i) set(map, "again", text(7, 30'000));
    EXPECT_LT(Commons::instance().usage().arena.in_use, empty + 200'000);
  }
  EXPECT_EQ(Commons::instance().usage().arena.in_use, before);
}

TEST_F(SharedMaps, ProcessesShareIt) {
  SharedMap map;
  std::vector<pid_t> children;
  for (int child = 0; child < 3; ++child) {
    children.push_back(in_child([&map, child] {
      SharedMap same(map.cell()->name());
      for (int i = 0; i < 2000; ++i) {
        set(same, std::to_string(child * 2000 + i), text(i, i % 500 ? 20 : 20'000));
        if (i % 2) same.take(base::as_bytes(std::to_string(child * 2000 + i)));
      }
    }));
  }
  for (pid_t child : children) EXPECT_EQ(wait_for(child), 0);
  EXPECT_EQ(map.size(), 3000U);
  for (int i = 0; i < 6000; i += 2) ASSERT_EQ(get(map, std::to_string(i)).size() % 20'000 % 20, 0U);
}

constexpr int kKills = 60;

// A process changes whatever it comes across, and is killed; what it leaves behind must be whole.
TEST_F(SharedMaps, ItsUsersAreKilled) {
  SharedMap map;
  std::mt19937_64 random(5);
  for (int i = 0; i < kKills; ++i) {
    InCommon<std::atomic<int>> begun;
    pid_t child = in_child([&] {
      std::mt19937_64 own(i);
      for (*begun = 1;;) {
        std::string key = std::to_string(own() % 300);
        switch (own() % 5) {
          case 0:
            map.take(base::as_bytes(key));
            break;
          case 1:
            if (i % 2 == 0 && own() % 300 == 0) map.clear();
            break;
          default:
            set(map, key, text(own(), random_size(own)));
        }
      }
    });
    await(*begun, 1);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 6000));
    if (i % 2) {  // at once with this one
      for (int j = 0; j < 300; ++j) {
        set(map, "own", text(j, j % 3 ? 10 : 20'000));
        EXPECT_EQ(get(map, "own"), text(j, j % 3 ? 10 : 20'000));
      }
    }
    kill_and_wait(child);
    std::vector<std::string> found = keys(map);
    ASSERT_EQ(found.size(), map.size());
    for (const std::string& key : found) ASSERT_TRUE(is_whole(get(map, key))) << key;
    ASSERT_TRUE(set(map, "mine", text(i, 30)));
    ASSERT_EQ(get(map, "mine"), text(i, 30));
  }
}

// Of what one process has set, nothing gets lost when others are killed.
TEST_F(SharedMaps, NothingGetsLost) {
  SharedMap map;
  for (int i = 0; i < 40; ++i) {
    InCommon<std::atomic<int>> done;
    pid_t child = in_child([&] {
      for (int j = 1;; ++j) {
        set(map, "child", std::to_string(j));
        done->store(j);
      }
    });
    for (int j = 0; j < 500; ++j) {
      std::string key = std::to_string(j % 50);
      set(map, key, text(j, j % 10 ? 30 : 17'000));
      ASSERT_EQ(get(map, key), text(j, j % 10 ? 30 : 17'000));
    }
    await(*done, 1);
    kill_and_wait(child);
    int last = std::stoi(get(map, "child"));
    EXPECT_TRUE(last == done->load() || last == done->load() + 1) << last << " " << done->load();
  }
}

// Sequences

SharedInput input(const base::BytesView& piece) { return {3, {&piece, 1}}; }

std::vector<std::string> all(SharedSequence& row) {
  SharedValues values;
  row.snapshot(values);
  return all(values);
}

bool set(SharedSequence& row, std::int64_t index, const std::string& value) {
  base::BytesView piece = base::as_bytes(value);
  return row.set(index, input(piece));
}

void append(SharedSequence& row, const std::vector<std::string>& values) {
  std::vector<base::BytesView> pieces;
  for (const std::string& value : values) pieces.push_back(base::as_bytes(value));
  std::vector<SharedInput> inputs;
  for (const base::BytesView& piece : pieces) inputs.push_back(input(piece));
  row.append(inputs);
}

void insert(SharedSequence& row, std::int64_t index, const std::string& value) {
  base::BytesView piece = base::as_bytes(value);
  row.insert(index, input(piece));
}

TEST_F(SharedSequences, LikeAVector) {
  SharedSequence row;
  std::vector<std::string> model;
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) {
    std::string value = text(random(), random_size(random));
    std::uint64_t at = model.empty() ? 0 : random() % model.size();
    auto index = static_cast<std::int64_t>(at);
    std::string last = text(random(), random_size(random));
    switch (random() % (i % 4000 < 2000 ? 7 : 10)) {
      case 0:
        ASSERT_EQ(set(row, index, value), !model.empty());
        if (!model.empty()) model[at] = value;
        break;
      case 1:
        insert(row, index, value);
        model.insert(model.begin() + index, value);
        break;
      case 2:
        append(row, {value, "x", last});
        model.insert(model.end(), {value, "x", last});
        break;
      case 3: {
        if (random() % 20) break;
        std::uint64_t size = 0;
        SharedVersion version = row.version(size);
        std::vector<std::uint64_t> order;
        std::vector<std::string> changed;
        for (std::uint64_t j = size; j-- > 0;) {
          if (j == at) continue;
          order.push_back(j);
          changed.push_back(model[j]);
        }
        order.push_back(size);
        changed.push_back(value);
        base::BytesView piece = base::as_bytes(value);
        SharedInput more = input(piece);
        ASSERT_TRUE(row.arrange(version, order, {&more, 1}));
        ASSERT_FALSE(row.arrange(version, order, {&more, 1}));
        model = changed;
        break;
      }
      case 4:
        append(row, {value});
        model.push_back(value);
        break;
      default: {
        SharedValue taken;
        ASSERT_EQ(row.take(index, &taken), !model.empty());
        if (model.empty()) break;
        ASSERT_EQ(as_string(taken.bytes), model[at]);
        model.erase(model.begin() + index);
      }
    }
    ASSERT_EQ(row.size(), model.size());
    if (i % 100 == 0) {
      ASSERT_EQ(all(row), model);
    }
  }
  row.clear();
  EXPECT_EQ(row.size(), 0U);
}

TEST_F(SharedSequences, ItsUsersAreKilled) {
  SharedSequence row;
  std::mt19937_64 random(6);
  append(row, {"first"});
  for (int i = 0; i < kKills; ++i) {
    InCommon<std::atomic<int>> begun;
    pid_t child = in_child([&] {
      std::mt19937_64 own(i);
      for (*begun = 1;;) {
        std::uint64_t size = row.size();
        auto index = static_cast<std::int64_t>(size < 2 ? 1 : 1 + own() % (size - 1));
        switch (own() % (size > 200 ? 8 : 5)) {
          case 0:
            set(row, index, text(own(), random_size(own)));
            break;
          case 1:
            insert(row, index, text(own(), random_size(own)));
            break;
          case 2:
            append(row, {text(own(), random_size(own)), text(own(), 20'000)});
            break;
          case 3:
            append(row, {text(own(), random_size(own))});
            break;
          default:
            row.take(index);
        }
      }
    });
    await(*begun, 1);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 6000));
    kill_and_wait(child);
    std::vector<std::string> found = all(row);
    ASSERT_EQ(found.size(), row.size());
    ASSERT_EQ(found.front(), "first");
    for (std::size_t j = 1; j < found.size(); ++j) ASSERT_TRUE(is_whole(found[j]));
  }
}

TEST_F(SharedSequences, WhatIsAppendedIsThereAsAWhole) {
  SharedSequence row;
  for (int i = 0; i < 30; ++i) {
    InCommon<std::atomic<int>> begun;
    pid_t child = in_child([&] {
      *begun = 1;
      for (int j = 0;; ++j) {
        append(row, {"a", "b", j % 20 ? "c" : text('c' - 'a', 20'000)});
        if (row.size() > 300) row.clear();
      }
    });
    await(*begun, 1);
    std::this_thread::sleep_for(std::chrono::microseconds(500 + i * 100));
    kill_and_wait(child);
    std::vector<std::string> found = all(row);
    ASSERT_EQ(found.size() % 3, 0U);
    for (std::size_t j = 0; j < found.size(); ++j) ASSERT_EQ(found[j].substr(0, 1)[0], 'a' + j % 3);
  }
}

TEST_F(SharedSequences, IsNoMap) {
  SharedSequence row;
  EXPECT_THROW(SharedMap map(row.cell()->name()), std::runtime_error);
}

// Counters

TEST_F(SharedCounters, Count) {
  SharedCounter counter(5);
  pid_t child = in_child([&] {
    SharedCounter same(counter.cell()->name());
    std::int64_t sum = 0;
    for (int i = 0; i < 100'000; ++i) same.add(2, sum);
  });
  std::int64_t sum = 0;
  for (int i = 0; i < 100'000; ++i) counter.add(-1, sum);
  EXPECT_EQ(wait_for(child), 0);
  EXPECT_EQ(counter.value(), 100'005);
  EXPECT_EQ(counter.exchange(INT64_MAX), 100'005);
  EXPECT_FALSE(counter.add(1, sum));
  EXPECT_EQ(counter.value(), INT64_MAX);
}

}  // namespace
}  // namespace procession::shm
