// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>

// The laws of a compressor, for any policy: entrain::testing::check_compressor(my_compressor{}); throws entrain::error
// with the law, the size and the figures when one is broken.
//
//   1. wire_count is a function of n, and encode fills exactly that much (elements behind it are not touched).
//   2. encode and decode give the same result when repeated with the same keys and state.
//   3. decode_add adds scale times the decoded value: linear in scale, and it keeps what was there.
//   4. lossless: decode(encode(x)) == x. positional: wire_count(n) == n, and a part of the wire decodes alone.
//   5. summable: the sum of two encodings decodes to the sum of the two decodings (to the wire type's rounding).
//   6. Zeros decode to zeros; nothing becomes NaN.
//   7. contraction: |x - decode(encode(x))|^2 <= |x|^2 for compressors that do not claim to be unbiased.
//   8. unbiased: the mean over many seeds is the input, within 5 standard errors.

namespace entrain::testing {

namespace detail {

inline void require(bool holds, const std::string& law, const std::string& expected = {}, const std::string& found = {}) {
  if (!holds) throw error("law of compressors", law + " does not hold", expected, found);
}

template <class T>
std::vector<T> gaussian(std::size_t n, std::uint32_t stream) {
  const random_stream random(7, purpose::user, stream);
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = T(random.normal(i));
  return out;
}

template <class T, class C>
struct coded {
  using wire = typename C::template wire_type<T>;
  std::vector<wire> bytes;
  std::vector<T> values;
};

template <class T, class C>
coded<T, C> round_trip(const C& c, compress::state_of<C, T>& state, const compress::context& key, std::vector<T> x) {
  coded<T, C> out;
  out.bytes.resize(c.template wire_count<T>(x.size()));
  out.values.assign(x.size(), T(0));
  c.encode(state, key, std::span<T>(x), std::span(out.bytes));
  c.decode_add(key, std::span<const typename C::template wire_type<T>>(out.bytes), std::span<T>(out.values), T(1));
  return out;
}

template <class T, class C>
std::vector<T> decoded(const C& c, const compress::context& key, const std::vector<T>& x) {
  auto state = c.template make_state<T>(x.size());
  return round_trip<T>(c, state, key, x).values;
}

template <class T, class C>
void check_repeatable(const C& c, const std::vector<T>& x) {
  const compress::context key{3, 5, 1, 0};
  require(decoded<T>(c, key, x) == decoded<T>(c, key, x), "repeatable (the same keys give the same bytes)");
}

template <class T, class C>
void check_scale(const C& c, const std::vector<T>& x) {
  const compress::context key{3, 5, 1, 0};
  auto state = c.template make_state<T>(x.size());
  const auto once = round_trip<T>(c, state, key, x);
  std::vector<T> y(x.size(), T(8));
  c.decode_add(key, std::span<const typename C::template wire_type<T>>(once.bytes), std::span<T>(y), T(-0.5));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = 8 - 0.5 * double(once.values[i]);
    require(std::abs(double(y[i]) - expected) <= 1e-5 * (1 + std::abs(expected)), "decode_add adds scale * decoded at element " + std::to_string(i),
            std::to_string(expected), std::to_string(double(y[i])));
  }
}

template <class T, class C>
void check_sums(const C& c, const std::vector<T>& x, const std::vector<T>& z) {
  using wire = typename C::template wire_type<T>;
  const compress::context key{3, 5, 1, 0};
  auto s1 = c.template make_state<T>(x.size()), s2 = c.template make_state<T>(x.size());
  auto a = round_trip<T>(c, s1, key, x), b = round_trip<T>(c, s2, key, z);
  for (std::size_t i = 0; i < a.bytes.size(); ++i) a.bytes[i] = wire(a.bytes[i] + b.bytes[i]);
  std::vector<T> sum(x.size(), T(0));
  c.decode_add(key, std::span<const wire>(a.bytes), std::span<T>(sum), T(1));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = double(a.values[i]) + double(b.values[i]);
    const double rounding = sizeof(wire) < sizeof(T) ? 0x1p-7 : 1e-5;
    require(std::abs(double(sum[i]) - expected) <= rounding * (1e-3 + std::abs(expected)), "summable (the sum of encodings encodes the sum)", std::to_string(expected),
            std::to_string(double(sum[i])));
  }
}

template <class T, class C>
void check_error(const C& c, const std::vector<T>& x) {
  const auto y = decoded<T>(c, {3, 5, 1, 0}, x);
  double left = 0, all = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    require(std::isfinite(double(y[i])), "finite results");
    left += (double(x[i]) - double(y[i])) * (double(x[i]) - double(y[i]));
    all += double(x[i]) * double(x[i]);
  }
  if constexpr (compress::is_lossless<C>) require(left == 0, "lossless", "no difference", std::to_string(left));
  if constexpr (!requires { requires C::unbiased; }) require(left <= all * (1 + 1e-6), "contraction", "at most " + std::to_string(all), std::to_string(left));
}

template <class T, class C>
void check_unbiased(const C& c, const std::vector<T>& x) {
  constexpr int draws = 400;
  std::vector<double> mean(x.size()), squares(x.size());
  for (int d = 0; d < draws; ++d) {
    const auto y = decoded<T>(c, {std::uint64_t(d) + 11, 5, 1, 0}, x);
    for (std::size_t i = 0; i < x.size(); ++i) mean[i] += double(y[i]) / draws, squares[i] += double(y[i]) * double(y[i]) / draws;
  }
  // 5 standard errors: a true law fails by chance once in 3.5 million elements.
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double deviation = std::sqrt(std::max(0.0, squares[i] - mean[i] * mean[i]) / draws);
    require(std::abs(mean[i] - double(x[i])) <= 5 * deviation + 1e-6 * (1 + std::abs(double(x[i]))), "unbiased (mean over seeds at element " + std::to_string(i) + ")",
            std::to_string(double(x[i])), std::to_string(mean[i]));
  }
}

}  // namespace detail

template <class T = float, class C>
  requires compress::compressor<C, T>
void check_compressor(const C& c) {
  for (const std::size_t n : {0, 1, 2, 3, 16, 17, 100, 1000, 4099}) {
    const auto x = detail::gaussian<T>(n, 1);
    detail::require(c.template wire_count<T>(n) == c.template wire_count<T>(n), "wire_count is a function of n");
    if constexpr (compress::is_positional<C>) detail::require(c.template wire_count<T>(n) == n, "positional: one wire element a value");
    detail::check_repeatable<T>(c, x);
    detail::check_scale<T>(c, x);
    detail::check_error<T>(c, x);
    detail::check_error<T>(c, std::vector<T>(n, T(0)));
    for (const T y : detail::decoded<T>(c, {1, 1, 1, 0}, std::vector<T>(n, T(0)))) detail::require(y == T(0), "zeros decode to zeros");
    if constexpr (C::payload == compress::payload_kind::summable) detail::check_sums<T>(c, x, detail::gaussian<T>(n, 2));
  }
  if constexpr (requires { requires C::unbiased; }) detail::check_unbiased<T>(c, detail::gaussian<T>(64, 3));
}

// The identity of error feedback over `steps` steps: the sum of what was sent + residual = the sum of the gradients.
// Checked to 1e-12 of the largest sum when T is double.
template <class T = double, class C>
void check_error_feedback(const C& c, std::size_t n = 1000, int steps = 20) {
  auto state = c.template make_state<T>(n);
  std::vector<double> sent(n), given(n);
  for (int s = 0; s < steps; ++s) {
    const auto g = detail::gaussian<T>(n, std::uint32_t(100 + s));
    const auto out = detail::round_trip<T>(c, state, {3, std::uint64_t(s), 1, 0}, g);
    for (std::size_t i = 0; i < n; ++i) sent[i] += double(out.values[i]), given[i] += double(g[i]);
  }
  const double tolerance = std::is_same_v<T, double> ? 1e-12 : 1e-5;
  for (std::size_t i = 0; i < n; ++i)
    detail::require(std::abs(sent[i] + double(state.residual[i]) - given[i]) <= tolerance * double(steps), "error feedback identity at element " + std::to_string(i),
                    std::to_string(given[i]), std::to_string(sent[i] + double(state.residual[i])));
}

}  // namespace entrain::testing
