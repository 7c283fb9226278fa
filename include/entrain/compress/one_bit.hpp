// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include <entrain/core/memory.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/bits.hpp>
#include <entrain/compress/detail/norms.hpp>

// 1-bit SGD (Seide, Fu, Droppo, Li, Yu, "1-bit stochastic gradient descent and its application to data-parallel distributed
// training of speech DNNs", Interspeech 2014): of each value z only the bit z >= 0 travels, and for each column of the
// block's matrix two values to reconstruct from: the mean of its values with bit 1 and the mean of those with bit 0. For the
// given bits that is the least-squares optimum. A class without members has mean 0.
//
// Columns: a block of rows x columns lies row after row, and column c is what lies at i % columns == c. In a linear layer
// (inputs x outputs) that is all weights of one output. A vector is one column, not n of one value each.
//
// Wire: ceil(n / 8) bytes of signs and 2 sizeof(T) bytes a column (8 for fp32). Payload: gathered. Memory: 24 bytes a column of
// scratch that is no state. Biased; the error is at most (1 - 1 / rows) |v|^2 (a vector: 1 - 1 / n).
//
// Pitfalls: diverges without error feedback: use error_feedback{one_bit{}}. The authors send the first steps uncompressed. Wide
// matrices of few rows pay mostly for the means: below 64 rows more than for the bits.

namespace entrain::compress {

struct one_bit {
  using slot_type = slot::compression;
  static constexpr std::string_view name = "one_bit";
  static constexpr payload_kind payload = payload_kind::gatherable;
  template <class T>
  using wire_type = std::uint8_t;

  template <class T>
  struct state {
    std::size_t columns = 0;
    buffer<double> tally;  // scratch: sums of the positive values of each column, then of the negative, then how many of these
    void visit(auto&&) {}
  };

  static std::size_t columns_of(const block& b) { return b.count == 0 ? 0 : b.matrix() ? b.columns : 1; }

  template <class T>
  std::size_t wire_count(const block& b) const { return detail::packed_bytes(b.count, 1) + 2 * sizeof(T) * columns_of(b); }
  template <class T>
  state<T> make_state(const block& b) const { return {columns_of(b), buffer<double>(3 * columns_of(b))}; }
  double contraction(const block& b) const { return b.count == 0 ? 1 : double(columns_of(b)) / double(b.count); }

  template <class T>
  void encode(state<T>& s, const context&, std::span<T> values, std::span<std::uint8_t> wire) const {
    const std::size_t n = values.size(), columns = s.columns;
    if (n == 0) return;
    std::uint8_t* bits = wire.data() + 2 * sizeof(T) * columns;
    detail::pack_signs(values.data(), n, bits);
    double *positive = s.tally.data(), *negative = positive + columns, *negatives = negative + columns;
    if (columns == 1) tally_vector<T>(values, bits, *positive, *negative, *negatives);
    else tally_matrix<T>(values, columns, positive, negative, negatives);
    for (std::size_t c = 0; c < columns; ++c) {
      const double positives = double(n / columns) - negatives[c];
      const T plus = T(positive[c] / std::max(1.0, positives)), minus = T(negative[c] / std::max(1.0, negatives[c]));
      std::memcpy(wire.data() + c * sizeof(T), &plus, sizeof(T));
      std::memcpy(wire.data() + (columns + c) * sizeof(T), &minus, sizeof(T));
    }
  }

  template <class T>
  void decode_add(const context&, std::span<const std::uint8_t> wire, std::span<T> values, T scale) const {
    const std::size_t n = values.size(), columns = (wire.size() - detail::packed_bytes(n, 1)) / (2 * sizeof(T));
    if (n == 0) return;
    const std::uint8_t *means = wire.data(), *bits = means + 2 * sizeof(T) * columns;
    const auto mean = [&](std::size_t at) {
      T value;
      std::memcpy(&value, means + at * sizeof(T), sizeof(T));
      return value;
    };
    if (columns == 1) return detail::add_signs(bits, n, T(scale * mean(0)), T(scale * mean(1)), values.data());

    // Narrow rows are taken several at a time, with the means repeated.
    const std::size_t width = columns < narrow ? columns * (narrow / columns + 1) : columns;
    std::uint8_t repeated[4 * narrow * sizeof(T)];
    if (columns < narrow) {
      for (std::size_t i = 0; i < 2 * width; ++i)
        std::memcpy(repeated + i * sizeof(T), means + (i % width % columns + i / width * columns) * sizeof(T), sizeof(T));
      means = repeated;
    }
    std::uint8_t negative[detail::bit_chunk];
    std::size_t c = 0;  // where the next value stands in its row
    detail::for_each_chunk(n, [&](std::size_t first, std::size_t count) {
      detail::packing<1>::unpack(bits + first / 8, count, negative);
      for (std::size_t i = 0; i < count;) {
        const std::size_t run = std::min(count - i, width - c);  // to the end of the row or of the chunk
        T* out = values.data() + first + i;
        for (std::size_t j = 0; j < run; ++j) out[j] += scale * (negative[i + j] ? mean(width + c + j) : mean(c + j));
        i += run;
        c = c + run == width ? 0 : c + run;
      }
    });
  }

  friend bool operator==(const one_bit&, const one_bit&) = default;

 private:
  static constexpr std::size_t narrow = 64;

  // (v + |v|) / 2 is v or 0, with no select to hinder the compiler.
  static double above(double v) { return 0.5 * v + 0.5 * std::abs(v); }
  static double below(double v) { return 0.5 * v - 0.5 * std::abs(v); }

  template <class T>
  static void tally_vector(std::span<const T> v, const std::uint8_t* bits, double& positive, double& negative, double& negatives) {
    positive = detail::sum_of(v.data(), v.size(), above);
    negative = detail::sum_of(v.data(), v.size(), below);
    negatives = 0;
    for (std::size_t i = 0; i < detail::packed_bytes(v.size(), 1); ++i) negatives += std::popcount(bits[i]);
  }

  template <class T>
  static void tally_matrix(std::span<const T> v, std::size_t columns, double* positive, double* negative, double* negatives) {
    std::fill_n(positive, 3 * columns, 0.0);
    for (const T* row = v.data(); row < v.data() + v.size(); row += columns) {
      ENTRAIN_VECTORISE
      for (std::size_t c = 0; c < columns; ++c) {
        positive[c] += above(double(row[c]));
        negative[c] += below(double(row[c]));
        negatives[c] += row[c] < T(0) ? 1.0 : 0.0;
      }
    }
  }
};

}  // namespace entrain::compress
