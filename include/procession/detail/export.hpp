// SPDX-License-Identifier: Apache-2.0
// detail/export: what the compiled half of procession shows to programs; everything else is hidden.
#pragma once

#define PROCESSION_EXPORT __attribute__((visibility("default")))
