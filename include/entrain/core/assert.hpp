// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/config.hpp>
#include <entrain/core/error.hpp>

// Assertions in levels, chosen by ENTRAIN_ASSERT_LEVEL. A failed assertion throws entrain::error: in a distributed job
// an exception is reported with its rank and ends the whole job, where abort() would leave the others waiting.
//
//   ENTRAIN_ASSERT(level, condition, expected, found)
//
// level 1: constant time; level 2: a pass over the data; level 3: communicates (all ranks must reach it).

#define ENTRAIN_STRINGIZE_IMPL(x) #x
#define ENTRAIN_STRINGIZE(x) ENTRAIN_STRINGIZE_IMPL(x)

#define ENTRAIN_ASSERT(level, condition, expected, found)                                                              \
  do {                                                                                                                 \
    if constexpr ((level) <= ENTRAIN_ASSERT_LEVEL) {                                                                   \
      if (!(condition))                                                                                                \
        throw ::entrain::error(__FILE__ ":" ENTRAIN_STRINGIZE(__LINE__), "assertion failed: " #condition,              \
                               ::entrain::detail::text(expected), ::entrain::detail::text(found));                     \
    }                                                                                                                  \
  } while (false)
