// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/comm/sparse_stream.hpp>
#include <entrain/compress/cost.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/philox.hpp>

// What a compressor costs on this processor, measured in a few milliseconds at start-up, for compress/cost.hpp:
//
//   compress::costs mine = compress::measure(compress::top_k{.ratio = 0.01});
//   compress::costs ours = compress::measure_together(world, compress::top_k{});   // rank 0's, on every rank
//
// Gaussian values in blocks of n and n / 16: the line through both times gives the seconds a value and those a block. Times are the
// least of five: other programs only ever add to them. Clocks differ, so decisions that ranks must share are taken from
// measure_together (one broadcast).

namespace entrain::compress {

namespace detail {

// One rank's part of the exchange of one block, without the wires; what the other ranks would send is what this one does.
template <class T, class C>
class coder {
  using wire_type = wire_of<C, T>;

 public:
  coder(const C& c, const block& b) : c_(c), shape_(b), state_(c_.template make_state<T>(b)), each_(((b.count + b.ranks - 1) / b.ranks + 7) / 8 * 8) {
    where_.ranks = std::uint32_t(b.ranks), where_.rows = b.rows, where_.columns = b.columns, where_.block = b.index;
    if constexpr (C::payload == payload_kind::two_phase) {
      wire_.resize(c_.template part_count<T>(each_) * b.ranks), out_.resize(wire_.size() / b.ranks);
    } else if constexpr (C::payload == payload_kind::rounds) {
      std::size_t most = 0;
      for (int r = 0; r < C::rounds; ++r) most = std::max(most, c_.template round_count<T>(b, r));
      wire_.resize(most), out_.resize(most);
    } else {
      wire_.resize(c_.template wire_count<T>(b));
    }
    filled_ = wire_.size();
  }

  // The next step's; values are scratch afterwards.
  void encode(std::span<T> values) {
    ++where_.step;
    if constexpr (requires { c_.begin_step(std::span(&state_, 1), where_); }) c_.begin_step(std::span(&state_, 1), where_);
    if constexpr (C::payload == payload_kind::two_phase) {
      c_.encode_parts(state_, where_, values, each_, std::span<wire_type>(wire_));
    } else if constexpr (C::payload == payload_kind::rounds) {
      std::size_t before = 0;
      for (int r = 0; r < C::rounds; ++r) {
        const std::size_t n = c_.template round_count<T>(shape_, r);
        c_.round(state_, where_, r, values, std::span<const wire_type>(wire_.data(), before), std::span<wire_type>(out_.data(), n));
        wire_.swap(out_), before = n;
      }
      filled_ = before;
    } else {
      filled_ = encoded(c_, state_, where_, values, std::span<wire_type>(wire_));
    }
  }
  void combine() {
    if constexpr (C::payload == payload_kind::two_phase)
      c_.template combine<T>(state_, where_, std::span<const wire_type>(wire_), std::min(each_, shape_.count), std::span<wire_type>(out_));
  }
  // Adds what was encoded; of rounds, replaces.
  void decode(std::span<T> values) {
    if constexpr (C::payload == payload_kind::two_phase) {
      const std::size_t part = out_.size();
      for (std::size_t j = 0; j < shape_.ranks && j * each_ < shape_.count; ++j)
        c_.decode_add(where_, std::span<const wire_type>(wire_.data() + j * part, part), values.subspan(j * each_, std::min(each_, shape_.count - j * each_)), T(1));
    } else if constexpr (C::payload == payload_kind::rounds) {
      c_.finish(state_, where_, std::span<const wire_type>(wire_.data(), filled_), values);
    } else {
      c_.decode_add(where_, std::span<const wire_type>(wire_.data(), filled_), values, T(1));
    }
  }

  // Of wire_count (all rounds'): elements that are sent, and their bytes.
  std::size_t bytes() const {
    std::size_t n = filled_;
    if constexpr (C::payload == payload_kind::rounds) {
      n = 0;
      for (int r = 0; r < C::rounds; ++r) n += c_.template round_count<T>(shape_, r);
    }
    return n * sizeof(wire_type);
  }
  double filled() const { return wire_.empty() ? 1 : double(filled_) / double(wire_.size()); }

 private:
  C c_;
  block shape_;
  state_of<C, T> state_;
  std::size_t each_, filled_ = 0;
  context where_;
  std::vector<wire_type> wire_, out_;
};

struct coding_time {
  double encode = 1e9, decode = 1e9, combine = 1e9, filled = 1;
};

template <class T, class C>
coding_time time_coding(const C& c, std::size_t rows, std::size_t columns, int ranks) {
  block shape(rows, columns);
  shape.ranks = std::size_t(ranks);
  buffer<T> gradient(shape.count), values(shape.count), sum(shape.count);
  const random_stream random(1, purpose::compress);
  constexpr std::size_t different = 4096;  // of these, with other scales: normal numbers take longer than what is measured
  for (std::size_t i = 0; i < shape.count; ++i)
    gradient[i] = i < different ? T(random.normal(i)) : gradient[i - different] * T(1 + 1e-3 / (1 + double(i / different)));
  const auto seconds = [](auto&& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  coder<T, C> one(c, shape);
  coding_time best;
  for (int i = 0; i < 6; ++i) {
    std::copy(gradient.begin(), gradient.end(), values.begin());
    const double encode = seconds([&] { one.encode(values.span()); });
    best.filled = one.filled();
    const double decode = seconds([&] { one.decode(sum.span()); }), combine = seconds([&] { one.combine(); });
    if (i > 0) best.encode = std::min(best.encode, encode), best.decode = std::min(best.decode, decode), best.combine = std::min(best.combine, combine);
  }
  return best;
}

// Seconds an entry of the result, of two streams of random indices.
template <class T>
double time_merge() {
  constexpr std::size_t count = 4096, distance = 64;
  const random_stream random(1, purpose::compress, 1);
  const std::vector<T> values(count, T(1));
  std::vector<std::uint32_t> indices[2];
  for (std::size_t i = 0; i < 2 * count; ++i) indices[i / count].push_back(std::uint32_t(i % count * distance + random.below(i, distance)));
  comm::sparse_stream<T> low(count * distance), high(count * distance), spare(count * distance);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    low.clear(), high.clear();
    low.append({std::span<const std::uint32_t>(indices[0]), std::span<const T>(values)}), high.append({std::span<const std::uint32_t>(indices[1]), std::span<const T>(values)});
    const auto begin = std::chrono::steady_clock::now();
    const std::size_t found = merge_add(low, high, spare, comm::sum{}).count();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / double(found));
  }
  return best;
}

}  // namespace detail

// n: values, of the order of the blocks in question (a large block does not fit the caches). ranks: of the group, for two_phase.
template <class T = float, class C>
costs measure(const C& c, std::size_t n = std::size_t(1) << 16, int ranks = 4) {
  if constexpr (is_identity<C>) {
    return {};
  } else {
    const std::size_t rows = n < 4096 ? 16 : 64, columns = std::max<std::size_t>(n / rows, 16);
    const auto small = detail::time_coding<T>(c, rows, columns / 16, ranks), large = detail::time_coding<T>(c, rows, columns, ranks);
    const double few = double(rows * (columns / 16)), many = double(rows * columns);
    const auto slope = [&](double a, double b) { return std::max(b - a, 0.5 * b) / (b > a ? std::min(many - few, many) : many); };
    costs out;
    out.encode = slope(small.encode, large.encode), out.decode = slope(small.decode, large.decode);
    if constexpr (C::payload == payload_kind::two_phase) out.combine = slope(small.combine, large.combine);
    out.fixed = std::max(0.0, small.encode - few * out.encode) + std::max(0.0, small.decode - few * out.decode);
    if constexpr (C::payload == payload_kind::sparse && is_ascending<C>) out.merge = detail::time_merge<T>();
    if constexpr (is_variable<C>) out.filled = large.filled;
    return out;
  }
}

// Rank 0's, on every rank. All ranks call it together.
template <class T = float, class C, comm::communicator World>
costs measure_together(World& world, const C& c, std::size_t n = std::size_t(1) << 16) {
  costs k;
  if (world.rank() == 0) k = measure<T>(c, n, world.size());
  comm::broadcast(world, view<costs>(&k, 1), 0);
  return k;
}

// One for each leaf of a policy (compress/choices.hpp), from left to right.
template <class T = float, class C>
std::array<costs, leaf_count<C>> measure_leaves(const C& c, std::size_t n = std::size_t(1) << 16, int ranks = 4) {
  return std::apply([&](const auto&... leaf) { return std::array<costs, leaf_count<C>>{measure<T>(leaf, n, ranks)...}; }, leaves(c));
}

}  // namespace entrain::compress
