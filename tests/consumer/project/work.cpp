// SPDX-License-Identifier: Apache-2.0
#include "work.hpp"

void work(procession::Connection<std::string> answer, std::string text) {
  answer.send("worked on " + text);
}

std::string work_elsewhere(const procession::Context& context, std::string text) {
  auto [ours, theirs] = procession::Pipe<std::string>();
  procession::Process process = context.Process(work, std::move(theirs), std::move(text));
  process.start();
  std::string answer = ours.recv();
  process.join();
  return answer;
}
