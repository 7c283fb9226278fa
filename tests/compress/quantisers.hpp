// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/philox.hpp>

// What the tests of the quantisers share: coding a vector once, sums, and vectors at the ends of the number formats.

namespace test {

namespace en = entrain;

template <class T>
std::vector<T> gaussian(std::size_t n, std::uint32_t stream) {
  const en::random_stream random(41, en::purpose::user, stream);
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = T(random.normal(i));
  return out;
}

template <class T, class C>
std::vector<std::uint8_t> encode(const C& c, std::vector<T> x, en::compress::context key, const en::compress::block& b) {
  auto state = c.template make_state<T>(b);
  std::vector<std::uint8_t> wire(c.template wire_count<T>(b));
  key.rows = b.rows, key.columns = b.columns;
  wire.resize(en::compress::encoded(c, state, key, std::span<T>(x), std::span(wire)));
  return wire;
}
template <class T, class C>
std::vector<T> decode(const C& c, const std::vector<std::uint8_t>& wire, en::compress::context key, const en::compress::block& b) {
  std::vector<T> out(b.count, T(0));
  key.rows = b.rows, key.columns = b.columns;
  c.decode_add(key, std::span<const std::uint8_t>(wire), std::span<T>(out), T(1));
  return out;
}
template <class T, class C>
std::vector<T> coded(const C& c, const std::vector<T>& x, const en::compress::context& key = {}) {
  return decode<T>(c, encode<T>(c, x, key, x.size()), key, x.size());
}

template <class V>
double squares(const V& x) {
  double sum = 0;
  for (const auto v : x) sum += double(v) * double(v);
  return sum;
}
template <class V>
double magnitudes(const V& x) {
  double sum = 0;
  for (const auto v : x) sum += std::abs(double(v));
  return sum;
}
template <class V, class W>
double squared_distance(const V& x, const W& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += (double(x[i]) - double(y[i])) * (double(x[i]) - double(y[i]));
  return sum;
}

// Nothing, one value, all equal, subnormal, huge, and all of it mixed.
template <class T>
std::vector<std::vector<T>> ends_of_the_format() {
  constexpr T least = std::numeric_limits<T>::denorm_min(), most = std::numeric_limits<T>::max() / T(4096);
  std::vector<std::vector<T>> out = {{}, {T(3)}, {T(-3)}, {T(0)}, {T(-0.0)}, {least}, {-least}, {most}};
  for (const std::size_t n : {7, 9, 40, 1030}) {
    out.emplace_back(n, T(0));
    out.emplace_back(n, T(-2.5));
    out.emplace_back(n, least * T(5));
    out.emplace_back(n, most);
    auto mixed = gaussian<T>(n, 5);
    for (std::size_t i = 0; i < n; ++i) mixed[i] *= i % 3 == 0 ? most / T(8) : i % 3 == 1 ? least * T(4) : T(1);
    out.push_back(mixed);
  }
  return out;
}

}  // namespace test
