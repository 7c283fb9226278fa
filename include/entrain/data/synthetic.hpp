// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <entrain/core/philox.hpp>
#include <entrain/data/memory.hpp>

// Small made-up tasks for examples and tests; the same seed gives the same samples everywhere.

namespace entrain::data {

// Two interleaved half circles in the plane, one a class: the smallest task that a linear model cannot solve.
inline labelled_samples two_moons(std::uint64_t samples, float noise = 0.1f, std::uint64_t seed = 0) {
  const random_stream random(seed, purpose::sample, 1), jitter(seed, purpose::sample, 2);
  std::vector<float> points;
  std::vector<std::int32_t> labels;
  for (std::uint64_t i = 0; i < samples; ++i) {
    const bool upper = i % 2 == 0;
    const double angle = 3.14159265358979 * random.uniform(i);
    const double x = upper ? std::cos(angle) : 1 - std::cos(angle), y = upper ? std::sin(angle) : 0.5 - std::sin(angle);
    points.push_back(float(x + noise * jitter.normal(2 * i)));
    points.push_back(float(y + noise * jitter.normal(2 * i + 1)));
    labels.push_back(upper ? 0 : 1);
  }
  return {std::move(points), std::move(labels)};
}

// y = w . x + noise with standard normal x and hidden standard normal weights w: linear regression with a known answer.
inline regression_samples linear_teacher(std::uint64_t samples, std::size_t features, float noise = 0.0f, std::uint64_t seed = 0) {
  const random_stream weights(seed, purpose::sample, 3), inputs(seed, purpose::sample, 4), jitter(seed, purpose::sample, 5);
  std::vector<float> x, y;
  for (std::uint64_t i = 0; i < samples; ++i) {
    double sum = noise * jitter.normal(i);
    for (std::size_t f = 0; f < features; ++f) {
      x.push_back(float(inputs.normal(i * features + f)));
      sum += weights.normal(f) * double(x.back());
    }
    y.push_back(float(sum));
  }
  return {std::move(x), std::move(y), samples};
}

}  // namespace entrain::data
