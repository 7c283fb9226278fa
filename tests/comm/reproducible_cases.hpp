// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "holds.hpp"
#include <entrain/comm/messages.hpp>
#include <entrain/comm/reproducible.hpp>

// The laws of comm/reproducible.hpp, for any communicator; used on threads and on MPI.

namespace tests {

using namespace entrain;

// Wild magnitudes: any change of the order of additions shows.
template <class T>
T leaf_value(std::size_t leaf, std::size_t i) {
  std::uint64_t h = (leaf + 1) * 0x9e3779b97f4a7c15ull ^ (i + 7) * 0xbf58476d1ce4e5b9ull;
  h ^= h >> 29, h *= 0x94d049bb133111ebull, h ^= h >> 32;
  const double mantissa = double(h & 0xffff) / 65536.0 - 0.5;
  return T(std::ldexp(mantissa, int(h >> 16 & 31) - 16));
}

// x -> a x + b over 32-bit words: associative, not commutative.
struct affine {
  std::uint32_t a = 1, b = 0;
};
struct after {
  static constexpr std::string_view name = "after";
  static constexpr bool commutative = false;
  static affine combine(affine f, affine g) { return {f.a * g.a, f.b * g.a + g.b}; }
};
template <>
inline affine leaf_value<affine>(std::size_t leaf, std::size_t i) {
  return {std::uint32_t(2 * (leaf * 7919 + i) + 1), std::uint32_t(leaf * 31 + i * 17)};
}

// The tree again, as plainly as can be said.
template <class T, class Op>
T reference(std::size_t first, std::size_t last, std::size_t i) {
  if (last - first == 1) return leaf_value<T>(first, i);
  std::size_t half = 1;
  while (2 * half < last - first) half *= 2;
  return Op::combine(reference<T, Op>(first, first + half, i), reference<T, Op>(first + half, last, i));
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T, class Op, class C>
void check_reproducible(C& c, std::size_t leaves, std::size_t n) {
  const part mine = nth_part(leaves, std::size_t(c.rank()), std::size_t(c.size()));
  std::vector<T> expected(n), in(mine.count * n), out(n);
  for (std::size_t i = 0; i < n; ++i) expected[i] = reference<T, Op>(0, leaves, i);
  for (std::size_t k = 0; k < mine.count; ++k)
    for (std::size_t i = 0; i < n; ++i) in[k * n + i] = leaf_value<T>(mine.first + k, i);

  const auto sent = comm::reproducible_all_reduce(c, in, out, Op{}, leaves);
  HOLDS(same_bits(out, expected));

  // What was sent: for each segment of each other rank's piece my nodes, and my result to each.
  const std::size_t p = std::size_t(c.size()), longest = (n + p - 1) / p;
  std::vector<comm::tree::node> nodes;
  comm::tree::cover({mine.first, mine.first + mine.count}, {0, leaves}, nodes);
  const std::size_t segment = std::max<std::size_t>(1, std::min(std::max<std::size_t>(1, comm::reproducible_detail::segment_bytes / sizeof(T)), longest));
  comm::sent_messages predicted;
  for (std::size_t q = 0; q < p; ++q) {
    const std::size_t piece = nth_part(n, q, p).count, pieces = (piece + segment - 1) / segment;
    const std::size_t times = q == std::size_t(c.rank()) ? p - 1 : nodes.size();
    predicted.messages += times * pieces, predicted.bytes += times * piece * sizeof(T);
  }
  HOLDS(sent == predicted);

  if (mine.count == 1 && leaves == p) {  // in place: all ranks do it, or none
    comm::reproducible_all_reduce(c, in, in, Op{}, leaves);
    HOLDS(same_bits(in, expected));
    in.resize(n);
    for (std::size_t i = 0; i < n; ++i) in[i] = leaf_value<T>(mine.first, i);
  }

  comm::reproducible_accumulator<T, Op> shards(c, leaves, n);
  for (int round = 0; round < 2; ++round) {
    std::fill(out.begin(), out.end(), T{});
    for (std::size_t k = 0; k < mine.count; ++k) shards.add(view<const T>(in.data() + k * n, n));
    shards.all_reduce(c, view<T>(out));
    HOLDS(same_bits(out, expected));
  }
  HOLDS(shards.vectors() <= std::max<std::size_t>(1, 2 * std::size_t(std::bit_width(leaves))));
}

template <class C>
void check_reproducible_laws(C& c, const std::vector<std::size_t>& leaves) {
  const std::size_t p = std::size_t(c.size());
  for (const std::size_t total : leaves) {
    for (const std::size_t n : {std::size_t(0), std::size_t(1), p - 1, p + 1, std::size_t(1000)}) check_reproducible<float, comm::sum>(c, total, n);
    check_reproducible<double, comm::sum>(c, total, 257);
    check_reproducible<bfloat16, comm::sum>(c, total, 129);
    check_reproducible<std::int64_t, comm::maximum>(c, total, 65);
    check_reproducible<affine, after>(c, total, 100);
  }
}

// Several in flight, completed in an order of each rank's own.
template <class C>
void check_reproducible_in_flight(C& c) {
  constexpr std::size_t leaves = 6, n = 3000;
  const part mine = nth_part(leaves, std::size_t(c.rank()), std::size_t(c.size()));
  std::vector<std::vector<float>> in(4), out(4, std::vector<float>(n));
  for (std::size_t k = 0; k < 4; ++k) {
    in[k].resize(mine.count * n);
    for (std::size_t j = 0; j < mine.count * n; ++j) in[k][j] = leaf_value<float>(mine.first + j / n, j % n + k);
  }
  using request = comm::reproducible_request<C, float, comm::sum>;
  std::vector<request> requests;
  for (std::size_t k = 0; k < 4; ++k) requests.push_back(comm::start_reproducible_all_reduce(c, in[k], out[k], comm::sum{}, leaves));
  for (std::size_t k = 0; k < 4; ++k) {
    auto& r = requests[(k * 3 + std::size_t(c.rank())) % 4];
    if (k % 2) r.wait();
    else
      while (!r.test()) std::this_thread::yield();
  }
  for (std::size_t k = 0; k < 4; ++k)
    for (std::size_t i = 0; i < n; i += 7) HOLDS(out[k][i] == reference<float, comm::sum>(0, leaves, i + k));
}

}  // namespace tests
