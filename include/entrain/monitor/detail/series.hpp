// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <entrain/monitor/concepts.hpp>

// The history of a run in bounded memory, for pictures: at most `buckets` stretches of equally many steps. When they are
// full, neighbours are merged and a stretch becomes twice as long. Sums are exact over each stretch, and the smallest and
// the largest loss are kept with their steps, so no spike is lost. Cost a step: constant, on average.

namespace entrain::monitor::detail {

struct stretch {
  std::uint64_t steps = 0;
  double step_sum = 0;  // for the stretch's middle
  double loss_sum = 0, seconds = 0, compute = 0, exposed = 0, bytes = 0, count = 0;
  std::uint64_t finite = 0;  // steps with a finite loss
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  double low_step = 0, high_step = 0;

  double at() const { return step_sum / double(steps); }
  double mean_loss() const { return finite > 0 ? loss_sum / double(finite) : std::numeric_limits<double>::quiet_NaN(); }

  void add(const stretch& other) {
    steps += other.steps, finite += other.finite, step_sum += other.step_sum, loss_sum += other.loss_sum;
    seconds += other.seconds, compute += other.compute, exposed += other.exposed, bytes += other.bytes, count += other.count;
    if (other.low < low) low = other.low, low_step = other.low_step;
    if (other.high > high) high = other.high, high_step = other.high_step;
  }

  static stretch of(const step_event& e) {
    stretch s;
    s.steps = 1;
    s.step_sum = double(e.step);
    if (std::isfinite(e.loss)) s.finite = 1, s.loss_sum = s.low = s.high = e.loss, s.low_step = s.high_step = double(e.step);
    s.seconds = e.seconds, s.compute = e.compute_seconds, s.exposed = e.exposed_seconds, s.bytes = double(e.bytes_sent),
    s.count = double(e.count);
    return s;
  }
};

class series {
 public:
  static constexpr std::size_t buckets = 1000;  // a minimum and a maximum each: 2000 points in the picture

  void add(const step_event& e) {
    stretches_.reserve(buckets);
    if (!stretches_.empty() && stretches_.back().steps < stride_) return stretches_.back().add(stretch::of(e));
    if (stretches_.size() == buckets) {
      merge();
      if (stretches_.back().steps < stride_) return stretches_.back().add(stretch::of(e));
    }
    stretches_.push_back(stretch::of(e));
  }
  const std::vector<stretch>& stretches() const { return stretches_; }
  std::uint64_t stride() const { return stride_; }

 private:
  void merge() {
    for (std::size_t i = 0; i < buckets / 2; ++i) {
      stretches_[i] = stretches_[2 * i];
      stretches_[i].add(stretches_[2 * i + 1]);
    }
    stretches_.resize(buckets / 2);
    stride_ *= 2;
  }
  std::vector<stretch> stretches_;
  std::uint64_t stride_ = 1;
};

}  // namespace entrain::monitor::detail
