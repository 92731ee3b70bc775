// SPDX-License-Identifier: Apache-2.0
// A shared library that knows nothing of procession, with a function to run elsewhere.
#pragma once

int in_the_shared_library(int number);
