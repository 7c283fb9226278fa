// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/philox.hpp>

// Text from a language model, token by token. A token costs one forward pass over the last `context` tokens (nothing is
// cached between tokens: meant for samples during training, not for serving).

namespace entrain::nn {

namespace detail {

// Draws from softmax(logits / temperature) over the top_k largest; temperature 0 takes the largest.
template <class T>
std::int32_t draw_token(const T* logits, std::size_t vocabulary, double temperature, std::size_t top_k, double uniform) {
  std::vector<std::int32_t> order(vocabulary);
  std::iota(order.begin(), order.end(), 0);
  const std::size_t kept = temperature <= 0 ? 1 : top_k == 0 ? vocabulary : std::min(top_k, vocabulary);
  std::partial_sort(order.begin(), order.begin() + std::ptrdiff_t(kept), order.end(),
                    [&](std::int32_t a, std::int32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
  if (kept == 1) return order[0];
  std::vector<double> weight(kept);
  for (std::size_t i = 0; i < kept; ++i) weight[i] = std::exp((double(logits[order[i]]) - double(logits[order[0]])) / temperature);
  double left = uniform * std::accumulate(weight.begin(), weight.end(), 0.0);
  for (std::size_t i = 0; i < kept; ++i)
    if ((left -= weight[i]) < 0) return order[i];
  return order[kept - 1];
}

}  // namespace detail

// The prompt's `n` following tokens. temperature 0: always the likeliest; top_k 0: no limit. The same seed gives the same text.
template <class Model>
std::vector<std::int32_t> generate(Model& model, view<const typename Model::value_type> parameters, const std::vector<std::int32_t>& prompt,
                                   std::size_t n, double temperature = 1.0, std::size_t top_k = 0, std::uint64_t seed = 0) {
  if (prompt.empty()) throw usage_error("nn::generate", "an empty prompt", "at least one token", "none");
  const std::size_t context = model.rows_a_sample(), vocabulary = model.outputs();
  const random_stream random(seed, purpose::sample);
  std::vector<std::int32_t> text = prompt;
  token_batch window;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t length = std::min(context, text.size());
    window.resize(1, length);
    std::copy(text.end() - std::ptrdiff_t(length), text.end(), window.inputs.begin());
    const auto logits = model.predict(parameters, window);
    text.push_back(
        detail::draw_token(logits.data() + (length - 1) * vocabulary, vocabulary, temperature, top_k, double(random.uniform(i))));
  }
  return {text.begin() + std::ptrdiff_t(prompt.size()), text.end()};
}

}  // namespace entrain::nn
