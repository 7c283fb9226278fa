// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../catch.hpp"
#include "../trainer/losses.hpp"
#include "device_test.hpp"

// What tests of whole trainers on a device share: small data, a run on some ranks, what came of it.

namespace entrain::test {

// Sequences in which a token mostly says what the next one is.
struct sequences {
  using batch_type = token_batch;
  std::size_t length = 12;
  std::uint64_t size() const { return 64; }
  void fill(std::span<const std::uint64_t> indices, token_batch& batch) const {
    batch.resize(indices.size(), length);
    for (std::size_t s = 0; s < indices.size(); ++s)
      for (std::size_t i = 0; i < length; ++i) {
        const auto token = [&](std::size_t at) { return std::int32_t((indices[s] * 5 + at * (1 + indices[s] % 3)) % 23); };
        batch.inputs[s * length + i] = token(i), batch.targets[s * length + i] = i % 5 == 4 ? -1 : token(i + 1);
      }
  }
};

// 8 x 8 pixels, one quarter of them bright: which one is the class.
struct pictures {
  using batch_type = labelled_batch;
  std::uint64_t size() const { return 20; }
  void fill(std::span<const std::uint64_t> indices, labelled_batch& batch) const {
    batch.resize(indices.size(), 64);
    for (std::size_t s = 0; s < indices.size(); ++s) {
      const std::uint64_t quarter = indices[s] % 4;
      batch.targets[s] = std::int32_t(quarter);
      for (std::size_t i = 0; i < 64; ++i) batch.inputs[s * 64 + i] = (i / 32 * 2 + i % 8 / 4 == quarter ? 1.0f : -0.3f) + float((i * 7 + indices[s] * 3) % 11) / 20;
    }
  }
};

struct outcome {
  std::vector<double> losses;
  std::vector<float> parameters;
  double evaluated = 0;
};

template <class Model, class Data, class Optimizer, class... More>
outcome train(int ranks, const Model& model, const Data& data, std::uint64_t steps, std::size_t batch, const Optimizer& optimizer, const More&... more) {
  outcome out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    std::vector<double> seen;
    trainer run{model, optimizer, world, losses_to{&seen}, more...};
    run.fit(data, {.steps = steps, .batch = batch, .resume = true});
    run.assemble_parameters();
    const double evaluated = run.evaluate(data).mean();
    if (world.rank() == 0) out = {seen, {run.parameters().begin(), run.parameters().end()}, evaluated};
  });
  return out;
}

// A relative difference of losses, and ten times that of parameters.
inline void check_same(const outcome& found, const outcome& expected, double tolerance) {
  CHECK(test::distance(found.losses, expected.losses) <= tolerance);
  CHECK(test::distance(found.parameters, expected.parameters) <= 10 * tolerance);
  CHECK(std::abs(found.evaluated - expected.evaluated) <= tolerance * std::abs(expected.evaluated));
}

}  // namespace entrain::test
