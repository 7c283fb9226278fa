// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/loss.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/core/policy.hpp>

// Models and data for tests of the trainer and of parallel policies: small enough to check by hand.

namespace entrain::test {

// A user's own model, as little as one can say: linear regression with 1/2 squared error, in any number format.
template <class T>
struct line {
  using slot_type = slot::model;
  using value_type = T;
  using batch_type = regression_batch;
  static constexpr std::string_view name = "line";
  std::size_t features = 5;

  parameter_layout layout() const { return {{"weight", {features, 1}}, {"bias", {1}}}; }
  void initialise(std::span<T> p, std::uint64_t seed) const {
    const random_stream random(seed, purpose::initialise);
    for (std::size_t i = 0; i < features; ++i) p[i] = T(random.normal(i));
  }
  loss_sum loss_and_gradient(std::span<const T> p, const regression_batch& batch, std::span<T> g) const {
    const std::size_t bias = layout()[1].offset;
    loss_sum loss;
    for (std::size_t s = 0; s < batch.samples; ++s) {
      const float* x = batch.inputs.data() + s * features;
      T y = p[bias];
      for (std::size_t j = 0; j < features; ++j) y += p[j] * T(x[j]);
      const T difference = y - T(batch.targets[s]);
      loss.sum += 0.5 * double(difference) * double(difference);
      ++loss.count;
      for (std::size_t j = 0; j < features; ++j) g[j] += difference * T(x[j]);
      g[bias] += difference;
    }
    return loss;
  }
};

// Samples of a noisy plane, a pure function of the index.
struct plane {
  using batch_type = regression_batch;
  std::uint64_t samples = 100;
  std::size_t features = 5;

  std::uint64_t size() const { return samples; }
  void fill(std::span<const std::uint64_t> indices, regression_batch& batch) const {
    const random_stream random(5, purpose::user);
    batch.resize(indices.size(), features, 1);
    for (std::size_t s = 0; s < indices.size(); ++s) {
      double y = 0.3;
      for (std::size_t j = 0; j < features; ++j) {
        const double x = random.normal(indices[s] * 8 + j);
        batch.inputs[s * features + j] = float(x);
        y += x * (double(j) - 1.5);
      }
      batch.targets[s] = float(y + 0.01 * random.normal(indices[s] * 8 + 7));
    }
  }
};

// Three clusters in six dimensions.
struct clusters {
  using batch_type = labelled_batch;
  std::uint64_t samples = 43;

  std::uint64_t size() const { return samples; }
  void fill(std::span<const std::uint64_t> indices, labelled_batch& batch) const {
    batch.resize(indices.size(), 6);
    for (std::size_t s = 0; s < indices.size(); ++s) {
      const random_stream random(9, purpose::user, 0, indices[s]);
      const auto label = std::size_t(random.below(100, 3));
      batch.targets[s] = std::int32_t(label);
      for (std::size_t j = 0; j < 6; ++j) batch.inputs[s * 6 + j] = float(0.5 * random.normal(j) + (j % 3 == label ? 1 : 0));
    }
  }
};

// Sequences that count upwards modulo 11 in steps of their own.
struct counting {
  using batch_type = token_batch;
  std::uint64_t samples = 21;

  std::uint64_t size() const { return samples; }
  void fill(std::span<const std::uint64_t> indices, token_batch& batch) const {
    batch.resize(indices.size(), 6);
    for (std::size_t s = 0; s < indices.size(); ++s)
      for (std::size_t t = 0; t < 6; ++t) {
        const std::uint64_t stride = indices[s] % 3 + 1;
        batch.inputs[s * 6 + t] = std::int32_t((indices[s] + stride * t) % 11);
        batch.targets[s * 6 + t] = std::int32_t((indices[s] + stride * (t + 1)) % 11);
      }
  }
};

}  // namespace entrain::test
