// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>

// Dynamic loss scaling (Micikevicius et al., "Mixed precision training", ICLR 2018): which scale the next backward pass begins with. It
// follows from whether the exchanged gradients of each step were finite, which all ranks find alike, so no rank needs to ask another.
//
//   how.loss_scale = float(scaler.scale());
//   ...
//   const double scale = scaler.scale();          // of the gradients that have come
//   if (!scaler.settle(squares)) ... leave the step out ...
//
// Its state is three numbers, in checkpoints "precision.loss_scale", "precision.good_steps" and "precision.skipped_steps".

namespace entrain::parallel {

class loss_scaler {
 public:
  loss_scaler() = default;  // none: the scale is 1 and every step good

  // From precision::fp16_mixed or what has its members.
  template <class Options>
  explicit loss_scaler(const Options& o) : enabled_(true), growth_(o.growth), backoff_(o.backoff), interval_(o.growth_interval), scale_(o.first_scale) {
    if (!(o.first_scale >= least && o.first_scale <= most && o.growth >= 1 && o.backoff > 0 && o.backoff < 1 && o.growth_interval > 0))
      throw usage_error("parallel::loss_scaler", "no scale can follow from these numbers",
                        "first_scale from 2^-24 to 2^64, growth >= 1, 0 < backoff < 1, growth_interval >= 1", entrain::describe(o));
  }

  bool enabled() const { return enabled_; }
  double scale() const { return scale_; }
  std::uint64_t skipped() const { return skipped_; }  // steps so far

  // The sum of squares of a step's gradients, over all ranks; false where the step is to be left out.
  bool settle(double squares) {
    if (!enabled_) return true;
    if (!std::isfinite(squares)) {
      scale_ = std::max(least, scale_ * backoff_), good_ = 0, ++skipped_;
      return false;
    }
    if (++good_ == interval_) scale_ = std::min(most, scale_ * growth_), good_ = 0;
    return true;
  }

  // Rank 0's sink.
  template <class Sink>
  void save(Sink& sink) const {
    if (!enabled_) return;
    sink("precision.loss_scale", std::span<const double>(&scale_, 1), {1});
    sink("precision.good_steps", std::span<const std::uint64_t>(&good_, 1), {1});
    sink("precision.skipped_steps", std::span<const std::uint64_t>(&skipped_, 1), {1});
  }
  // A run that has had no scale until now begins with the first one.
  template <class Source>
  void load(const Source& source) {
    if (!enabled_ || !source.contains("precision.loss_scale")) return;
    source.read("precision.loss_scale", std::span<double>(&scale_, 1));
    source.read("precision.good_steps", std::span<std::uint64_t>(&good_, 1));
    source.read("precision.skipped_steps", std::span<std::uint64_t>(&skipped_, 1));
  }

 private:
  // Where gradients are infinite or zero at any scale it must not become what cannot be multiplied with.
  static constexpr double least = 0x1p-24, most = 0x1p64;

  bool enabled_ = false;
  double growth_ = 1, backoff_ = 0.5;
  std::uint64_t interval_ = 1;
  double scale_ = 1;
  std::uint64_t good_ = 0, skipped_ = 0;
};

}  // namespace entrain::parallel
