// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// What datasets produce and models consume. A batch owns its storage and is refilled in place: after the first fill of a
// size nothing is allocated. Batches of zero samples are legal.

namespace entrain {

// `samples` sequences of `length` tokens; targets[i] is the token that follows inputs[i].
struct token_batch {
  std::size_t samples = 0, length = 0;
  std::vector<std::int32_t> inputs, targets;  // samples x length
  void resize(std::size_t n, std::size_t l) {
    samples = n, length = l;
    inputs.resize(n * l), targets.resize(n * l);
  }
};

// `samples` rows of features with a class label each (classification).
struct labelled_batch {
  std::size_t samples = 0, features = 0;
  std::vector<float> inputs;          // samples x features (images: channels x height x width)
  std::vector<std::int32_t> targets;  // samples
  void resize(std::size_t n, std::size_t f) {
    samples = n, features = f;
    inputs.resize(n * f), targets.resize(n);
  }
};

// `samples` rows of features with `outputs` real targets each (regression).
struct regression_batch {
  std::size_t samples = 0, features = 0, outputs = 0;
  std::vector<float> inputs;   // samples x features
  std::vector<float> targets;  // samples x outputs
  void resize(std::size_t n, std::size_t f, std::size_t o) {
    samples = n, features = f, outputs = o;
    inputs.resize(n * f), targets.resize(n * o);
  }
};

}  // namespace entrain
