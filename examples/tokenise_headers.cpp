// SPDX-License-Identifier: Apache-2.0
// Splits every header of a folder into C++'s tokens, counts them, and tells which words are the most
// frequent: a real job for a pool, on real files.
//
//   tokenise_headers [FOLDER [TRACE.json]]      /usr/include; the trace opens in ui.perfetto.dev
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <procession/procession.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;
namespace mp = procession;

namespace {

struct Counts {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::uint64_t numbers = 0;
  std::uint64_t strings = 0;
  std::uint64_t punctuators = 0;
  std::map<std::string, std::uint64_t> words;

  void add(const Counts& other) {
    files += other.files;
    bytes += other.bytes;
    numbers += other.numbers;
    strings += other.strings;
    punctuators += other.punctuators;
    for (const auto& [word, count] : other.words) words[word] += count;
  }
};

bool in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Where a string or character literal ends that begins at `at`.
std::size_t end_of_literal(std::string_view text, std::size_t at) {
  char quote = text[at++];
  while (at < text.size() && text[at] != quote && text[at] != '\n') at += text[at] == '\\' ? 2 : 1;
  return std::min(at + 1, text.size());
}

std::size_t end_of_comment(std::string_view text, std::size_t at) {
  bool line = text[at + 1] == '/';
  std::size_t end = text.find(line ? "\n" : "*/", at + 2);
  return end == std::string_view::npos ? text.size() : end + (line ? 1 : 2);
}

void tokenise(std::string_view text, Counts& counts) {
  for (std::size_t at = 0; at < text.size();) {
    char c = text[at];
    bool comment = c == '/' && at + 1 < text.size() && (text[at + 1] == '/' || text[at + 1] == '*');
    if (comment) {
      at = end_of_comment(text, at);
    } else if (c == '"' || c == '\'') {
      at = end_of_literal(text, at);
      ++counts.strings;
    } else if (in_word(c)) {
      std::size_t begin = at;
      while (at < text.size() && in_word(text[at])) ++at;
      bool number = std::isdigit(static_cast<unsigned char>(c)) != 0;
      number ? ++counts.numbers : ++counts.words[std::string(text.substr(begin, at - begin))];
    } else {
      if (std::isspace(static_cast<unsigned char>(c)) == 0) ++counts.punctuators;
      ++at;
    }
  }
}

// The task: it gets names and gives counts, so that what travels is small.
Counts count(const std::vector<std::string>& paths) {
  Counts counts;
  for (const std::string& path : paths) {
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    ++counts.files;
    counts.bytes += text.size();
    tokenise(text, counts);
  }
  return counts;
}

bool is_header(const fs::directory_entry& entry) {
  std::string extension = entry.path().extension();
  return entry.is_regular_file() && (extension == ".h" || extension == ".hpp" || extension.empty());
}

std::vector<std::vector<std::string>> headers_of(const fs::path& folder) {
  constexpr std::size_t kFilesToATask = 16;
  std::vector<std::vector<std::string>> chunks;
  auto options = fs::directory_options::skip_permission_denied;
  for (const auto& entry : fs::recursive_directory_iterator(folder, options)) {
    if (!is_header(entry)) continue;
    if (chunks.empty() || chunks.back().size() == kFilesToATask) chunks.emplace_back();
    chunks.back().push_back(entry.path());
  }
  return chunks;
}

void show(const Counts& all) {
  std::printf(
      "%llu files, %llu bytes: %llu numbers, %llu strings, %llu punctuators; words:\n",
      static_cast<unsigned long long>(all.files), static_cast<unsigned long long>(all.bytes),
      static_cast<unsigned long long>(all.numbers), static_cast<unsigned long long>(all.strings),
      static_cast<unsigned long long>(all.punctuators));
  std::vector<std::pair<std::uint64_t, std::string>> most;
  for (const auto& [word, times] : all.words) most.emplace_back(times, word);
  std::sort(most.rbegin(), most.rend());
  most.resize(std::min<std::size_t>(most.size(), 5));
  for (const auto& [times, word] : most) {
    std::printf("%12llu  %s\n", static_cast<unsigned long long>(times), word.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  fs::path folder = argc > 1 ? argv[1] : "/usr/include";
  std::vector<std::vector<std::string>> chunks = headers_of(folder);
  mp::ProcessPoolExecutor pool({.trace = argc > 2 ? argv[2] : ""});
  Counts all;
  std::size_t done = 0;
  for (const Counts& counts : pool.map(count, chunks)) {
    all.add(counts);
    std::size_t percent = ++done * 100 / chunks.size();
    if (percent != (done - 1) * 100 / chunks.size()) std::fprintf(stderr, "\r%3zu%%", percent);
  }
  std::fputs("\n", stderr);
  show(all);
}
