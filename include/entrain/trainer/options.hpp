// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

// What a fit and an evaluation may be told. The defaults suit a first try.

namespace entrain {

struct fit_options {
  std::uint64_t steps = 0;    // in all, counted from the run's first step; 0: as many as `epochs` take
  std::uint64_t epochs = 0;   // passes over the data; with neither, one epoch
  std::size_t batch = 32;     // samples of one step over ALL ranks, so that p ranks do what one rank does
  std::uint64_t seed = 1;     // of the sample order, of dropout and of random compressors
  bool shuffle = true;
  bool prefetch = true;       // a thread prepares the next batch while this one is computed
  bool resume = false;        // go on from the newest checkpoint, if there is one
};

struct evaluate_options {
  std::size_t batch = 64;     // samples this rank handles at once; has no influence on the result but rounding
};

}  // namespace entrain
