// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/testing/detail/compressor_probe.hpp>

// Laws of compressors about what lies on the wire: sizes, indices, sums, repeatability, and what a checkpoint must hold.

namespace entrain::testing::detail {

// The same keys and states give the same bytes, whatever the memory held before; decoding reads what was filled and no more.
template <class T, class C>
void check_repeatable(const C& c, const std::vector<T>& x, const compress::block& b) {
  using wire = compress::wire_of<C, T>;
  const auto key = key_of(b);
  const auto once = [&](unsigned char garbage) {
    auto state = c.template make_state<T>(b);
    return round_trip<T>(c, state, key, x, b, garbage);
  };
  const auto a = once(0xA5), again = once(0xA5), other = once(0x3C);
  require(same_bits(a.bytes, again.bytes) && same_bits(a.values, again.values), named("repeatable: the same keys give the same bytes", b));
  require(same_bits(a.bytes, other.bytes) && same_bits(a.values, other.values), named("encode fills everything: what it does not depends on the memory before", b));
  for (const unsigned char garbage : {0x00, 0x5A}) {
    guarded<wire> longer(a.bytes.size(), garbage);
    std::copy(a.bytes.begin(), a.bytes.end(), longer.span().begin());
    std::vector<T> y(x.size(), T(0));
    c.decode_add(key, std::span<const wire>(longer.span()), std::span<T>(y), T(1));
    require(same_bits(y, a.values), named("decode_add reads the filled elements and no others", b));
  }
}

template <class T, class C>
void check_indices(const C& c, const std::vector<T>& x, const compress::block& b) {
  if constexpr (C::payload == compress::payload_kind::sparse) {
    auto state = c.template make_state<T>(b);
    const auto sent = round_trip<T>(c, state, key_of(b), x, b).bytes;
    std::vector<std::uint32_t> indices;
    for (const auto& entry : sent) {
      require(entry.index < x.size(), named("indices in range", b), "below " + shown(x.size()), shown(entry.index));
      if (compress::is_ascending<C> && !indices.empty()) require(indices.back() < entry.index, named("ascending indices", b), "above " + shown(indices.back()), shown(entry.index));
      indices.push_back(entry.index);
    }
    std::sort(indices.begin(), indices.end());
    require(std::adjacent_find(indices.begin(), indices.end()) == indices.end(), named("distinct indices", b));
  }
}

template <class T, class C>
void check_scale(const C& c, const std::vector<T>& x, const compress::block& b) {
  auto state = c.template make_state<T>(b);
  const auto once = round_trip<T>(c, state, key_of(b), x, b);
  std::vector<T> y(x.size(), T(8));
  c.decode_add(key_of(b), std::span<const compress::wire_of<C, T>>(once.bytes), std::span<T>(y), T(-0.5));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = 8 - 0.5 * double(once.values[i]);
    require(std::abs(double(y[i]) - expected) <= 1e-5 * (1 + std::abs(expected)), named("decode_add adds scale * decoded", b) + " at element " + std::to_string(i), shown(expected), shown(y[i]));
  }
}

// positional: one wire element a value, and any stretch of the wire decodes alone.
template <class T, class C>
void check_positional(const C& c, const std::vector<T>& x, const compress::block& b) {
  if constexpr (compress::is_positional<C>) {
    require(c.template wire_count<T>(b) == b.count, named("positional: one wire element a value", b));
    auto state = c.template make_state<T>(b);
    const auto all = round_trip<T>(c, state, key_of(b), x, b);
    for (const std::size_t first : {std::size_t(0), x.size() / 3}) {
      const std::size_t count = (x.size() - first) / 2;
      std::vector<T> y(count, T(0));
      c.decode_add(key_of(b), std::span<const compress::wire_of<C, T>>(all.bytes).subspan(first, count), std::span<T>(y), T(1));
      require(std::equal(y.begin(), y.end(), all.values.begin() + std::ptrdiff_t(first)), named("positional: a stretch of the wire decodes alone", b));
    }
  }
}

// summable: ranks' encodings are as long as each other, their sum decodes to the sum, and whose rank the decoding key has does not matter.
template <class T, class C>
void check_sums(const C& c, const std::vector<T>& x, const std::vector<T>& z, const compress::block& b) {
  if constexpr (C::payload == compress::payload_kind::summable) {
    using wire = compress::wire_of<C, T>;
    auto s1 = c.template make_state<T>(b), s2 = c.template make_state<T>(b);
    const auto key = key_of(b), second = key_of(b, 3, 5, 1);
    auto mine = round_trip<T>(c, s1, key, x, b), other = round_trip<T>(c, s2, second, z, b);
    require(mine.bytes.size() == other.bytes.size(), named("summable: as many wire elements on every rank", b), shown(mine.bytes.size()), shown(other.bytes.size()));
    std::vector<T> as_first(z.size(), T(0)), sum(x.size(), T(0));
    c.decode_add(key, std::span<const wire>(other.bytes), std::span<T>(as_first), T(1));
    require(same_bits(as_first, other.values), named("summable: decoding does not depend on the rank", b));
    if constexpr (is_linear_decode<C>) {
      for (std::size_t i = 0; i < mine.bytes.size(); ++i) mine.bytes[i] = wire(mine.bytes[i] + other.bytes[i]);
      c.decode_add(key, std::span<const wire>(mine.bytes), std::span<T>(sum), T(1));
      const double rounding = sizeof(wire) == 1 ? 0.25 : sizeof(wire) < sizeof(T) ? 0x1p-7 : 1e-5;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double a = double(mine.values[i]), d = double(other.values[i]);
        require(std::abs(double(sum[i]) - (a + d)) <= rounding * (1e-3 + std::abs(a) + std::abs(d)), named("summable: the sum of encodings encodes the sum", b), shown(a + d), shown(sum[i]));
      }
    }
  }
}

// Bytes of everything that a state shows, in order; and the way back.
struct state_reader {
  std::vector<unsigned char>& bytes;
  template <class V>
  void operator()(std::string_view, std::span<V> values) const {
    const auto* first = reinterpret_cast<const unsigned char*>(values.data());
    bytes.insert(bytes.end(), first, first + values.size_bytes());
  }
  template <class V>
    requires std::is_arithmetic_v<V>
  void operator()(std::string_view name, V& value) const { (*this)(name, std::span<V>(&value, 1)); }
};
struct state_writer {
  const std::vector<unsigned char>& bytes;
  std::size_t& at;
  template <class V>
  void operator()(std::string_view name, std::span<V> values) const {
    require(at + values.size_bytes() <= bytes.size(), "checkpoints: a fresh state has the sizes of a used one (at '" + std::string(name) + "')");
    if (!values.empty()) std::memcpy(static_cast<void*>(values.data()), bytes.data() + at, values.size_bytes());
    at += values.size_bytes();
  }
  template <class V>
    requires std::is_arithmetic_v<V>
  void operator()(std::string_view name, V& value) const { (*this)(name, std::span<V>(&value, 1)); }
};

// What a state shows is all that matters: one that is restored from it goes on with the same bytes.
template <class T, class C>
void check_checkpoint(const C& c, const compress::block& b) {
  auto state = c.template make_state<T>(b), restored = c.template make_state<T>(b);
  const auto x = [&](std::uint32_t s) { return gaussian<T>(b.count, 20 + s); };
  for (std::uint32_t s = 0; s < 3; ++s) round_trip<T>(c, state, key_of(b, 3, s), x(s), b);
  std::vector<unsigned char> bytes;
  std::size_t at = 0;
  state.visit(state_reader{bytes});
  restored.visit(state_writer{bytes, at});
  require(at == bytes.size(), named("checkpoints: a fresh state has the sizes of a used one", b), shown(bytes.size()) + " bytes", shown(at));
  for (std::uint32_t s = 3; s < 6; ++s) {
    const auto went_on = round_trip<T>(c, state, key_of(b, 3, s), x(s), b), resumed = round_trip<T>(c, restored, key_of(b, 3, s), x(s), b);
    require(same_bits(went_on.bytes, resumed.bytes) && same_bits(went_on.values, resumed.values), named("checkpoints: a restored state goes on with the same bytes", b));
  }
}

// Edges: finite results, zeros stay zeros, the error is bounded as the compressor says.
template <class T, class C>
void check_error(const C& c, const std::vector<T>& x, const compress::block& b) {
  const auto y = decoded<T>(c, key_of(b), x, b);
  for (const T v : y) require(std::isfinite(double(v)), named("finite results", b));
  const double left = squared_error(x, y), all = squared_norm(x);
  if (all == 0 && !compress::is_direction<C> && std::all_of(x.begin(), x.end(), [](T v) { return v == T(0); }))
    require(std::all_of(y.begin(), y.end(), [](T v) { return v == T(0); }), named("zeros decode to zeros", b));
  if constexpr (compress::is_lossless<C>) require(left == 0, named("lossless", b), "no difference", shown(left));
  if constexpr (!compress::is_unbiased<C> && !compress::is_direction<C> && !states_contraction<C>)
    require(left <= all * (1 + 1e-6), named("the error is at most the norm", b), "at most " + shown(all), shown(left));
}

}  // namespace entrain::testing::detail
