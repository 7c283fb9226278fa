// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
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

// slice(from, first, count, to): `count` samples of a batch from `first` on, for micro-batches. A batch type of your own
// needs a member `samples` and such an overload (found by argument-dependent look-up) only where batches are cut.
namespace detail {
template <class T>
void copy_rows(const std::vector<T>& from, std::size_t first, std::size_t count, std::size_t width, std::vector<T>& to) {
  const auto begin = from.begin() + std::ptrdiff_t(first * width);
  to.assign(begin, begin + std::ptrdiff_t(count * width));
}
}  // namespace detail

inline void slice(const token_batch& from, std::size_t first, std::size_t count, token_batch& to) {
  to.samples = count, to.length = from.length;
  detail::copy_rows(from.inputs, first, count, from.length, to.inputs);
  detail::copy_rows(from.targets, first, count, from.length, to.targets);
}
inline void slice(const labelled_batch& from, std::size_t first, std::size_t count, labelled_batch& to) {
  to.samples = count, to.features = from.features;
  detail::copy_rows(from.inputs, first, count, from.features, to.inputs);
  detail::copy_rows(from.targets, first, count, 1, to.targets);
}
inline void slice(const regression_batch& from, std::size_t first, std::size_t count, regression_batch& to) {
  to.samples = count, to.features = from.features, to.outputs = from.outputs;
  detail::copy_rows(from.inputs, first, count, from.features, to.inputs);
  detail::copy_rows(from.targets, first, count, from.outputs, to.targets);
}

// Batches that can be cut into micro-batches.
template <class B>
concept sliceable = requires(const B& from, B& to) {
  { from.samples } -> std::convertible_to<std::size_t>;
  slice(from, std::size_t{}, std::size_t{}, to);
};

// The i-th of n nearly equal parts of `count` things: the first count % n parts have one more.
struct part {
  std::size_t first = 0, count = 0;
};
constexpr part nth_part(std::size_t count, std::size_t i, std::size_t n) {
  const std::size_t base = count / n, more = count % n;
  return {i * base + (i < more ? i : more), base + (i < more ? 1 : 0)};
}

}  // namespace entrain
