// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <entrain/core/batch.hpp>
#include <entrain/core/philox.hpp>

// Random batches for the tests of nn.

inline entrain::labelled_batch random_images(std::size_t samples, std::size_t features, std::size_t classes) {
  entrain::labelled_batch batch;
  batch.resize(samples, features);
  const entrain::random_stream random(3, entrain::purpose::user, 1);
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) batch.inputs[i] = float(random.normal(i));
  for (std::size_t i = 0; i < samples; ++i) batch.targets[i] = std::int32_t((5 * i + 1) % classes);
  return batch;
}

inline entrain::regression_batch random_rows(std::size_t samples, std::size_t features, std::size_t outputs) {
  entrain::regression_batch batch;
  batch.resize(samples, features, outputs);
  const entrain::random_stream random(3, entrain::purpose::user, 2);
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) batch.inputs[i] = float(random.normal(i));
  for (std::size_t i = 0; i < batch.targets.size(); ++i) batch.targets[i] = float(random.normal(100000 + i));
  return batch;
}

inline entrain::token_batch random_tokens(std::size_t samples, std::size_t length, std::size_t vocabulary) {
  entrain::token_batch batch;
  batch.resize(samples, length);
  const entrain::random_stream random(3, entrain::purpose::user, 3);
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) batch.inputs[i] = std::int32_t(random.below(i, vocabulary));
  for (std::size_t i = 0; i < batch.targets.size(); ++i) batch.targets[i] = std::int32_t(random.below(100000 + i, vocabulary));
  return batch;
}
