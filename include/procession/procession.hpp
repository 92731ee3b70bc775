// SPDX-License-Identifier: Apache-2.0
// procession: processes for ordinary functions, with the names of Python's multiprocessing.
//
//   namespace mp = procession;
//   void hello(std::string who) { std::cout << "hello " << who << '\n'; }
//   int main() {
//     mp::Process p(hello, "bob");
//     p.start();
//     p.join();
//   }
#pragma once

#include "procession/connection.hpp"     // IWYU pragma: export
#include "procession/context.hpp"        // IWYU pragma: export
#include "procession/error.hpp"          // IWYU pragma: export
#include "procession/executor.hpp"       // IWYU pragma: export
#include "procession/future.hpp"         // IWYU pragma: export
#include "procession/pool.hpp"           // IWYU pragma: export
#include "procession/process.hpp"        // IWYU pragma: export
#include "procession/queue.hpp"          // IWYU pragma: export
#include "procession/shared_memory.hpp"  // IWYU pragma: export
#include "procession/synchronize.hpp"    // IWYU pragma: export
