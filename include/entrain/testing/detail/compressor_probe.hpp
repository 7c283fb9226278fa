// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>

// What the laws of compressors are tried with: inputs, keys, memory with guards around it, and one trip over the wire.

namespace entrain::testing::detail {

inline void require(bool holds, const std::string& law, const std::string& expected = {}, const std::string& found = {}) {
  if (!holds) throw error("law of compressors", law + " does not hold", expected, found);
}
template <class V>
std::string shown(const V& value) {
  std::ostringstream out;
  out.precision(17);
  out << value;
  return out.str();
}
inline std::string named(const std::string& law, const compress::block& b) {
  return law + " (block of " + std::to_string(b.rows) + " x " + std::to_string(b.columns) + ")";
}

inline const std::vector<compress::block>& blocks() {
  static const std::vector<compress::block> all{{0},    {1},    {2},     {3},      {16},     {17},     {100},      {1000},
                                                {4099}, {2, 2}, {7, 11}, {64, 16}, {1, 100}, {100, 1}, {33, 65}};
  return all;
}
inline compress::context key_of(const compress::block& b, std::uint64_t seed = 3, std::uint64_t step = 5, std::uint32_t rank = 0, std::uint32_t index = 1) {
  compress::context key{seed, step, index, rank};
  key.ranks = 4, key.learning_rate = 0.1, key.rows = b.rows, key.columns = b.columns;
  return key;
}

template <class T>
std::vector<T> gaussian(std::size_t n, std::uint32_t stream) {
  const random_stream random(7, purpose::user, stream);
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = T(random.normal(i));
  return out;
}
// Powers of Gaussians: a few values hold most of the norm.
template <class T>
std::vector<T> heavy_tailed(std::size_t n, std::uint32_t stream) {
  auto out = gaussian<T>(n, stream);
  for (T& x : out) x = x * x * x * (x > T(0) ? x : -x);
  return out;
}
template <class T>
std::vector<T> mostly_zero(std::size_t n, std::uint32_t stream) {
  const random_stream random(8, purpose::user, stream);
  auto out = gaussian<T>(n, stream);
  for (std::size_t i = 0; i < n; ++i)
    if (random.uniform(i) < 0.95f) out[i] = T(0);
  return out;
}
template <class T>
std::vector<T> random_input(std::size_t n, std::uint32_t stream) {
  return stream % 3 == 0 ? gaussian<T>(n, stream) : stream % 3 == 1 ? heavy_tailed<T>(n, stream) : mostly_zero<T>(n, stream);
}
// What breaks arithmetic. `largest`: what the compressor promises to keep finite.
template <class T>
std::vector<std::vector<T>> edge_inputs(std::size_t n, double largest) {
  std::vector<std::vector<T>> out{std::vector<T>(n, T(0)), std::vector<T>(n, T(-0.0)), std::vector<T>(n, T(0.75)), std::vector<T>(n, T(-3)),
                                  std::vector<T>(n, std::numeric_limits<T>::denorm_min()), std::vector<T>(n, T(largest)), gaussian<T>(n, 4), gaussian<T>(n, 5)};
  for (std::size_t i = 0; i < n; ++i) out[6][i] = T(std::clamp(1e30 * double(out[6][i]), -largest, largest)), out[7][i] *= T(1e-39);
  for (const std::size_t i : {std::size_t(0), n / 2, n - 1})
    if (i < n) out.emplace_back(n, T(0)), out.back()[i] = T(-2.5);
  return out;
}

template <class C>
inline constexpr bool is_linear_decode = [] {
  if constexpr (requires { C::linear_decode; }) return bool(C::linear_decode);
  else return true;
}();
template <class C>
inline constexpr bool has_shared_seed = [] {
  if constexpr (requires { C::shared_seed; }) return bool(C::shared_seed);
  else return false;
}();
template <class C>
inline constexpr double largest_value = [] {
  if constexpr (requires { C::largest; }) return double(C::largest);
  else return 1e30;
}();
template <class C>
inline constexpr bool states_contraction = requires(const C& c, const compress::block& b) {
  { c.contraction(b) } -> std::convertible_to<double>;
};

// n elements with guards of a known pattern on both sides, filled with garbage.
template <class W>
class guarded {
  static_assert(std::is_trivially_copyable_v<W>, "what travels is bytes: the wire type must be trivially copyable");
  static constexpr std::size_t guard = 37;

 public:
  guarded(std::size_t n, unsigned char garbage) : all_(n + 2 * guard), garbage_(garbage) { std::memset(static_cast<void*>(all_.data()), garbage, all_.size() * sizeof(W)); }
  std::span<W> span() { return std::span<W>(all_).subspan(guard, all_.size() - 2 * guard); }
  // Bytes before the span, and behind its first `used` elements, are as they were.
  bool untouched_around(std::size_t used) const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(all_.data());
    const auto same = [&](unsigned char b) { return b == garbage_; };
    return std::all_of(bytes, bytes + guard * sizeof(W), same) && std::all_of(bytes + (guard + used) * sizeof(W), bytes + all_.size() * sizeof(W), same);
  }

 private:
  std::vector<W> all_;
  unsigned char garbage_;
};

template <class W>
bool same_element(const W& a, const W& b) {
  if constexpr (requires { a.index, a.value; }) return a.index == b.index && same_element(a.value, b.value);  // without padding
  else return std::memcmp(&a, &b, sizeof(W)) == 0;
}
template <class W>
bool same_bits(const std::vector<W>& a, const std::vector<W>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const W& x, const W& y) { return same_element(x, y); });
}

template <class T, class C>
struct coded {
  std::vector<compress::wire_of<C, T>> bytes;  // as many as encode has filled
  std::vector<T> values;                       // what they decode to
};

// What the exchange says to the states of all blocks before a step.
template <class T, class C>
void begin_step(const C& c, compress::state_of<C, T>& state, const compress::context& key) {
  if constexpr (requires { c.begin_step(std::span(&state, 1), key); }) c.begin_step(std::span(&state, 1), key);
}

// Encodes x and decodes it from a span of exactly what was filled, with the same bytes behind it in every trip; throws when memory around spans was touched.
template <class T, class C>
coded<T, C> round_trip(const C& c, compress::state_of<C, T>& state, const compress::context& key, const std::vector<T>& x, const compress::block& b, unsigned char garbage = 0xA5) {
  using wire = compress::wire_of<C, T>;
  const std::size_t most = c.template wire_count<T>(b);
  guarded<T> in(x.size(), garbage), out(x.size(), garbage);
  guarded<wire> sent(most, garbage);
  std::copy(x.begin(), x.end(), in.span().begin());
  std::fill(out.span().begin(), out.span().end(), T(0));
  begin_step<T>(c, state, key);
  const std::size_t filled = compress::encoded(c, state, key, in.span(), sent.span());
  require(filled <= most, named("encode fills at most wire_count", b), "at most " + shown(most), shown(filled));
  require(sent.untouched_around(filled), named("encode leaves memory alone around what it fills", b));
  require(in.untouched_around(x.size()), named("encode leaves memory alone around the values", b));

  coded<T, C> result;
  result.bytes.assign(sent.span().begin(), sent.span().begin() + std::ptrdiff_t(filled));
  guarded<wire> received(filled, 0xA5);
  std::copy(result.bytes.begin(), result.bytes.end(), received.span().begin());
  c.decode_add(key, std::span<const wire>(received.span()), out.span(), T(1));
  require(out.untouched_around(x.size()), named("decode_add leaves memory alone around the values", b));
  result.values.assign(out.span().begin(), out.span().end());
  return result;
}
template <class T, class C>
coded<T, C> round_trip(const C& c, compress::state_of<C, T>& state, const compress::context& key, const std::vector<T>& x) {
  return round_trip<T>(c, state, key, x, compress::block(x.size()));
}

template <class T, class C>
std::vector<T> decoded(const C& c, const compress::context& key, const std::vector<T>& x, const compress::block& b) {
  auto state = c.template make_state<T>(b);
  return round_trip<T>(c, state, key, x, b).values;
}

template <class T>
double squared_error(const std::vector<T>& x, const std::vector<T>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += (double(x[i]) - double(y[i])) * (double(x[i]) - double(y[i]));
  return sum;
}
template <class T>
double squared_norm(const std::vector<T>& x) {
  double sum = 0;
  for (const T v : x) sum += double(v) * double(v);
  return sum;
}

}  // namespace entrain::testing::detail
