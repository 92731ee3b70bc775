// SPDX-License-Identifier: Apache-2.0
#include "shared_library.hpp"

int in_the_shared_library(int number) { return number * 3; }
