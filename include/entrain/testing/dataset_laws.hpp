// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>
#include <entrain/data/concepts.hpp>
#include <entrain/data/order.hpp>

// The laws of a dataset (data/concepts.hpp), for yours as for the library's:
//
//   entrain::testing::check_dataset(my_dataset);   // throws entrain::error naming the law that is broken
//
//  1. The same indices give the same batch, whatever was filled into it before.
//  2. No indices give an empty batch.
//  3. Samples come in the order of the indices, in any order, also twice; a sample alone is the same as among others.
//
// A batch type of your own is compared with ==, and its samples through
//   bool same_sample(const batch& a, std::size_t i, const batch& b, std::size_t j), std::size_t sample_count(const batch&)
// found by argument-dependent lookup; without these the laws that need them are left out.

namespace entrain::testing {

namespace detail {

template <class T> bool same_row(const std::vector<T>& a, std::size_t i, const std::vector<T>& b, std::size_t j, std::size_t width) {
  return width == 0 || std::memcmp(a.data() + i * width, b.data() + j * width, width * sizeof(T)) == 0;  // bits, so that NaN equals itself
}

// The library's own batches.
template <class B> struct batch_access {
  static constexpr bool counts = requires(const B& b) { sample_count(b); };
  static constexpr bool compares = requires(const B& b) { same_sample(b, std::size_t{}, b, std::size_t{}); };
  static std::size_t count(const B& b) { return sample_count(b); }
  static bool same(const B& a, std::size_t i, const B& b, std::size_t j) { return same_sample(a, i, b, j); }
};
template <> struct batch_access<token_batch> {
  static constexpr bool counts = true, compares = true;
  static std::size_t count(const token_batch& b) {
    return b.inputs.size() == b.samples * b.length && b.targets.size() == b.inputs.size() ? b.samples : ~std::size_t{0};
  }
  static bool same(const token_batch& a, std::size_t i, const token_batch& b, std::size_t j) {
    return a.length == b.length && same_row(a.inputs, i, b.inputs, j, a.length) && same_row(a.targets, i, b.targets, j, a.length);
  }
};
template <> struct batch_access<labelled_batch> {
  static constexpr bool counts = true, compares = true;
  static std::size_t count(const labelled_batch& b) {
    return b.inputs.size() == b.samples * b.features && b.targets.size() == b.samples ? b.samples : ~std::size_t{0};
  }
  static bool same(const labelled_batch& a, std::size_t i, const labelled_batch& b, std::size_t j) {
    return a.features == b.features && same_row(a.inputs, i, b.inputs, j, a.features) && a.targets[i] == b.targets[j];
  }
};
template <> struct batch_access<regression_batch> {
  static constexpr bool counts = true, compares = true;
  static std::size_t count(const regression_batch& b) {
    return b.inputs.size() == b.samples * b.features && b.targets.size() == b.samples * b.outputs ? b.samples : ~std::size_t{0};
  }
  static bool same(const regression_batch& a, std::size_t i, const regression_batch& b, std::size_t j) {
    return a.features == b.features && a.outputs == b.outputs && same_row(a.inputs, i, b.inputs, j, a.features) &&
           same_row(a.targets, i, b.targets, j, a.outputs);
  }
};

inline void dataset_law(bool holds, const std::string& what, const std::string& expected, const std::string& found) {
  if (!holds) throw error("testing::check_dataset", what, expected, found);
}

}  // namespace detail

// Looks at up to `samples` samples chosen over the whole dataset.
template <data::dataset D> void check_dataset(const D& d, std::size_t samples = 64, std::uint64_t seed = 1) {
  using batch = typename D::batch_type;
  using access = detail::batch_access<batch>;
  using indices = std::vector<std::uint64_t>;
  const auto fill = [&](const indices& which, batch& into) { d.fill(std::span<const std::uint64_t>(which), into); };
  const auto count_is = [](const batch& b, std::size_t n) {
    if constexpr (access::counts)
      detail::dataset_law(access::count(b) == n, "a batch must hold one sample an index, and its arrays must fit its sizes",
                          std::to_string(n) + " samples",
                          access::count(b) == ~std::size_t{0} ? "arrays of other sizes" : std::to_string(access::count(b)));
  };

  const std::uint64_t size = d.size();
  indices some;
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(samples, size); ++i) some.push_back(data::sample_order{size, seed}.at(0, i));
  if (size > 0) some.push_back(size - 1), some.push_back(0), some.push_back(size - 1);
  auto backwards = some;
  std::reverse(backwards.begin(), backwards.end());

  batch once{}, again{}, empty{}, reversed{}, single{};
  fill({}, empty);
  count_is(empty, 0);
  fill(some, once);
  count_is(once, some.size());
  fill(backwards, again);  // the second batch has been used before
  fill(some, again);
  count_is(again, some.size());
  fill(backwards, reversed);
  if constexpr (!access::compares && std::equality_comparable<batch>)
    detail::dataset_law(once == again, "the same indices must give the same batch", "equal batches", "different ones");
  if constexpr (access::compares)
    for (std::size_t i = 0; i < some.size(); ++i) {
      const auto which = "sample " + std::to_string(some[i]);
      detail::dataset_law(access::same(once, i, again, i), "the same indices must give the same batch", which,
                          "another value at the second call");
      detail::dataset_law(access::same(once, i, reversed, some.size() - 1 - i), "samples must come in the order of the indices", which,
                          "another sample in its place");
      fill({some[i]}, single);
      count_is(single, 1);
      detail::dataset_law(access::same(once, i, single, 0), "a sample must not depend on the others of its batch", which,
                          "another value when asked for alone");
    }
  fill({}, again);  // a batch that held something becomes empty
  count_is(again, 0);
}

}  // namespace entrain::testing
