// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/describe.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/count_sketch.hpp>
#include <entrain/compress/detail/select.hpp>

// Count sketch of the gradient, as FetchSGD sends it (Rothchild, Panda, Ullah, Ivkin, Stoica, Braverman, Gonzalez, Arora, "FetchSGD:
// communication-efficient federated learning with sketching", ICML 2020): tables travel in all-reduce, and every rank reads
// the k = max(1, ceil(ratio * n)) largest estimates out of their sum.
//
// Payload: summable. Wire: 4 rows * columns bytes in fp32. Encoding is linear (the sum of tables is the table of the sum), decoding is not:
// it selects, so `linear_decode` is false. The estimates are medians, off by about |x|_2 / sqrt(columns): only values larger than that are
// found. On vectors without such values (Gaussian noise) the result is noise: it is no contraction.
// Memory: none. Cost: encoding rows passes over the values; decoding computes the estimates three to four times.
//
// Pitfall: no error_feedback around it: what was recovered from the sum says nothing of what a rank's own part lost. Use
// sketched_sgd, which keeps a residual.

namespace entrain::compress {

struct sketch {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = payload_kind::summable;
  static constexpr bool linear_decode = false, shared_seed = true;
  template <class T>
  using wire_type = T;

  int rows = 5;             // 1 to 9; odd, or medians are means of two
  std::size_t columns = 0;  // 0: 2 k; never more than n / rows
  double ratio = 0.01;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return n == 0 ? 0 : std::size_t(rows) * columns_of(n); }
  template <class T>
  no_state make_state(std::size_t n) const { return detail::check_sketch("compress::sketch", rows, columns_of(n)), no_state{}; }

  template <class T>
  void encode(no_state&, const context& where, std::span<T> values, std::span<T> wire) const {
    if (values.empty()) return;
    detail::write_sketch(detail::sketch_hash(where, rows, columns_of(values.size())), std::span<const T>(values), wire);
  }

  template <class T>
  void decode_add(const context& where, std::span<const T> wire, std::span<T> values, T scale) const {
    const std::size_t n = values.size();
    if (n == 0) return;
    detail::sketch_estimates<T> estimates(detail::sketch_hash(where, rows, columns_of(n)), wire, n);
    detail::for_each_largest(estimates, detail::share_of(ratio, n), [&](std::uint32_t i, T x) { values[i] += scale * x; });
  }

  // E|x - q|^2 <= 2 (1 + k rows) |x|^2, for any vector: (x_i - q_i)^2 <= 2 x_i^2 + 2 q_i^2 at the k selected values, and no q_i^2
  // exceeds the sum of all squares in the table, whose mean is rows |x|^2. Far from tight where large values stand out.
  double contraction(const block& b) const { return b.count == 0 ? 1 : -1 - 2 * double(rows) * double(detail::share_of(ratio, b.count)); }

  std::string describe() const { return describe_members("sketch", "rows", rows, "columns", columns, "ratio", ratio); }
  friend bool operator==(const sketch&, const sketch&) = default;

 private:
  std::size_t columns_of(std::size_t n) const { return detail::sketch_columns(columns, detail::share_of(ratio, n), rows, n); }
};

}  // namespace entrain::compress
