// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/testing/detail/compressor_probe.hpp>

// Laws of compressors that need several ranks: what the exchange does with a payload is done here by hand, rank after rank.

namespace entrain::testing::detail {

// A group of ranks with one block each. step() gives what every rank's gradient has become: the decoded sum over ranks.
template <class T, class C>
class ranks_of {
  using wire = compress::wire_of<C, T>;

 public:
  ranks_of(const C& c, compress::block b, std::size_t ranks) : c_(c), b_(b), ranks_(ranks) {
    b_.ranks = ranks;
    for (std::size_t r = 0; r < ranks; ++r) states_.push_back(c.template make_state<T>(b_));
  }
  compress::state_of<C, T>& state(std::size_t r) { return states_[r]; }
  // Values of a part of a two-phase payload: a multiple of eight, so that bits fill bytes.
  std::size_t each() const { return ((b_.count + ranks_ - 1) / ranks_ + 7) / 8 * 8; }

  std::vector<std::vector<T>> step(const std::vector<std::vector<T>>& x, std::uint64_t step, unsigned char garbage = 0xA5) {
    if constexpr (C::payload == compress::payload_kind::two_phase) return two_phases(x, step, garbage);
    else if constexpr (C::payload == compress::payload_kind::rounds) return rounds(x, step, garbage);
    else return gathered(x, step, garbage);
  }

 private:
  compress::context key(std::uint64_t step, std::size_t rank) const {
    auto where = key_of(b_, 3, step, std::uint32_t(rank));
    where.ranks = std::uint32_t(ranks_);
    return where;
  }
  std::vector<std::vector<T>> gathered(const std::vector<std::vector<T>>& x, std::uint64_t step, unsigned char garbage) {
    std::vector<T> sum(b_.count, T(0));
    for (std::size_t r = 0; r < ranks_; ++r) {
      const auto part = round_trip<T>(c_, states_[r], key(step, r), x[r], b_, garbage);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part.values[i];
    }
    return std::vector<std::vector<T>>(ranks_, sum);
  }
  // Part j goes to rank j, which combines it and sends its encoding to all (parallel/routes/two_phase.hpp).
  std::vector<std::vector<T>> two_phases(const std::vector<std::vector<T>>& x, std::uint64_t step, unsigned char garbage) {
    const std::size_t length = c_.template part_count<T>(each());
    std::vector<std::vector<wire>> sent;
    for (std::size_t r = 0; r < ranks_; ++r) {
      guarded<wire> memory(length * ranks_, garbage);
      auto scratch = x[r];
      c_.encode_parts(states_[r], key(step, r), std::span<T>(scratch), each(), memory.span());
      require(memory.untouched_around(length * ranks_), named("encode_parts leaves memory alone around the wire", b_));
      sent.emplace_back(memory.span().begin(), memory.span().end());
    }
    std::vector<T> sum(b_.count, T(0));
    for (std::size_t j = 0; j < ranks_; ++j) {
      std::vector<wire> arrived;
      for (const auto& s : sent) arrived.insert(arrived.end(), s.begin() + std::ptrdiff_t(j * length), s.begin() + std::ptrdiff_t((j + 1) * length));
      guarded<wire> memory(length, garbage);
      const std::size_t first = std::min(b_.count, j * each()), count = std::min(each(), b_.count - first);
      c_.template combine<T>(states_[j], key(step, j), std::span<const wire>(arrived), count, memory.span());
      require(memory.untouched_around(length), named("combine leaves memory alone around the wire", b_));
      c_.decode_add(key(step, j), std::span<const wire>(memory.span()), std::span<T>(sum).subspan(first, count), T(1));
    }
    return std::vector<std::vector<T>>(ranks_, sum);
  }
  std::vector<std::vector<T>> rounds(const std::vector<std::vector<T>>& x, std::uint64_t step, unsigned char garbage) {
    auto values = x;
    std::vector<wire> summed;
    if constexpr (C::payload == compress::payload_kind::rounds)
      for (int round = 0; round < C::rounds; ++round) {
        const std::size_t length = c_.template round_count<T>(b_, round);
        std::vector<wire> next(length, wire(0));
        for (std::size_t r = 0; r < ranks_; ++r) {
          guarded<wire> memory(length, garbage);
          c_.round(states_[r], key(step, r), round, std::span<T>(values[r]), std::span<const wire>(summed), memory.span());
          require(memory.untouched_around(length), named("a round leaves memory alone around the wire", b_));
          for (std::size_t i = 0; i < length; ++i) next[i] = wire(next[i] + memory.span()[i]);
        }
        summed = next;
      }
    for (std::size_t r = 0; r < ranks_; ++r) c_.finish(states_[r], key(step, r), std::span<const wire>(summed), std::span<T>(values[r]));
    return values;
  }

  const C& c_;
  compress::block b_;
  std::size_t ranks_;
  std::vector<compress::state_of<C, T>> states_;
};

// Payloads of several phases: all ranks end with the same finite sum, zeros stay zeros, and keys and states decide everything.
template <class T, class C>
void check_exchange(const C& c, const compress::block& b) {
  if (b.count == 0) return;  // such a block is not exchanged
  for (const std::size_t ranks : {1, 2, 4, 5}) {
    const auto run = [&](const std::vector<std::vector<T>>& x, unsigned char garbage) {
      ranks_of<T, C> group(c, b, ranks);
      group.step(x, 5, garbage);
      return group.step(x, 6, garbage);
    };
    std::vector<std::vector<std::vector<T>>> inputs(1);
    for (std::size_t r = 0; r < ranks; ++r) inputs[0].push_back(gaussian<T>(b.count, std::uint32_t(60 + r)));
    for (const auto& x : edge_inputs<T>(b.count, largest_value<C>)) inputs.emplace_back(ranks, x);
    for (const auto& x : inputs) {
      const auto y = run(x, 0xA5), again = run(x, 0x3C);
      for (std::size_t r = 0; r < ranks; ++r) {
        require(same_bits(y[r], again[r]), named("repeatable: the same keys give the same sum, whatever the memory held", b));
        require(same_bits(y[r], y[0]), named("all ranks get the same sum", b));
        for (const T v : y[r]) require(std::isfinite(double(v)), named("finite results", b));
        if (squared_norm(x[0]) == 0 && x[0][0] == T(0) && !compress::is_direction<C>)
          require(std::all_of(y[r].begin(), y[r].end(), [](T v) { return v == T(0); }), named("zeros decode to zeros", b));
      }
    }
  }
}

// Adds what a state shows under a name that ends in "residual": as long as the block, or this rank's part of it.
struct residual_adder {
  std::vector<double>& total;
  std::size_t part_begin;
  int& found;
  template <class V>
  void operator()(std::string_view name, std::span<V> values) const {
    if constexpr (std::is_floating_point_v<V>)
      if (name.ends_with("residual")) {
        const std::size_t first = values.size() == total.size() ? 0 : part_begin;
        for (std::size_t i = 0; i < values.size() && first + i < total.size(); ++i) total[first + i] += double(values[i]);
        ++found;
      }
  }
  template <class V>
    requires std::is_arithmetic_v<V>
  void operator()(std::string_view, V&) const {}
};

template <class T, class C>
void check_feedback(const C& c, const compress::block& b, int steps) {
  const bool phases = C::payload == compress::payload_kind::two_phase || C::payload == compress::payload_kind::rounds;
  const std::size_t ranks = phases ? 4 : 2;
  ranks_of<T, C> group(c, b, ranks);
  std::vector<double> sent(b.count), given(b.count);
  for (int s = 0; s < steps; ++s) {
    std::vector<std::vector<T>> x;
    for (std::size_t r = 0; r < ranks; ++r) x.push_back(gaussian<T>(b.count, std::uint32_t(100 + s) + std::uint32_t(r) * 1000));
    const auto out = group.step(x, std::uint64_t(s), 0xA5);
    for (std::size_t i = 0; i < b.count; ++i) {
      sent[i] += double(out[0][i]);
      for (const auto& mine : x) given[i] += double(mine[i]);
    }
  }
  for (std::size_t r = 0; r < ranks; ++r) {
    int found = 0;
    group.state(r).visit(residual_adder{sent, r * group.each(), found});
    require(found > 0, "error feedback: a state shows its 'residual' to visitors");
  }
  const double tolerance = std::is_same_v<T, double> ? 1e-12 : 1e-5;
  for (std::size_t i = 0; i < b.count; ++i)
    require(std::abs(sent[i] - given[i]) <= tolerance * double(steps) * double(ranks), named("error feedback identity", b) + " at element " + std::to_string(i), shown(given[i]), shown(sent[i]));
}

}  // namespace entrain::testing::detail
