// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

// A loss is a sum and a count, never a mean: means of unequal parts do not add up, sums do. Micro-batches, ranks and
// uneven shards add their sums; the one division happens in the parallel policy.

namespace entrain {

struct loss_sum {
  double sum = 0;           // of the samples' (or tokens') losses
  std::int64_t count = 0;   // samples (or tokens)
  std::int64_t correct = 0; // right predictions, where the model knows what that is

  loss_sum& operator+=(const loss_sum& other) {
    sum += other.sum;
    count += other.count;
    correct += other.correct;
    return *this;
  }
  double mean() const { return count > 0 ? sum / double(count) : 0.0; }
  double accuracy() const { return count > 0 ? double(correct) / double(count) : 0.0; }
};

}  // namespace entrain
