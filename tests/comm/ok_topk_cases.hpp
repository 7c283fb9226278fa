// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <thread>
#include <type_traits>
#include <vector>

#include "holds.hpp"
#include <entrain/comm/ok_topk.hpp>

// Ok-Topk against its description, said plainly, for all ranks at once; for any communicator. Every rank computes what all
// ranks do and checks its own result, what it may clear, and the messages that it has sent.

namespace tests {

using namespace entrain;

inline std::uint64_t mixed(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  std::uint64_t h = (a + 1) * 0x9e3779b97f4a7c15ull ^ (b + 3) * 0xbf58476d1ce4e5b9ull ^ (c + 5) * 0x94d049bb133111ebull;
  h ^= h >> 29, h *= 0xff51afd7ed558ccdull;
  return h ^ h >> 32;
}

enum class shape { random, shared, one_region, moving, zero, shrinking };

// What rank has at index i in step t. (Heavy tails: top-k means something.)
template <class T>
T ok_value(shape kind, std::size_t i, std::size_t d, int rank, std::size_t t) {
  const bool same = kind == shape::shared;
  const auto h = mixed(i, same ? 0 : std::uint64_t(rank), t / 3);
  if (kind == shape::zero && (t % 4 < 2 || i % 50 != 0)) return T(0);
  if (kind == shape::one_region && (i < d / 20 || i >= d / 10)) return T(0);
  if (kind == shape::moving && (i < d / 2) != (t < 5)) return T(0);
  const double u = double(h % 100003 + 1) / 100004.0, sign = h >> 40 & 1 ? 1 : -1;
  const double x = sign / (u + 0.001) * (kind == shape::shrinking ? std::pow(0.5, double(t)) : 1);
  if constexpr (std::is_integral_v<T>) return T(x);
  else return T(float(x));
}

template <class T>
struct plain_ok_top_k {
  std::size_t p, d, k, threshold_period, boundary_period, t = 0;
  std::vector<double> local;
  double global = 0;
  std::size_t last = 0;
  std::vector<std::size_t> bounds{};

  struct step {
    std::vector<std::uint32_t> indices;
    std::vector<T> values;
    std::vector<std::vector<std::uint32_t>> cleared;
    std::vector<comm::sent_messages> sent;
    std::vector<std::size_t> received;
    bool moved = false;
  };
  using M = std::conditional_t<std::is_integral_v<T> || sizeof(T) == 8, double, float>;
  static double size(T x) { return double(std::fabs(M(x))); }
  double kth(std::vector<double> sizes) const {
    if (sizes.size() < k) return 0;
    std::sort(sizes.begin(), sizes.end(), std::greater<>());
    return sizes[k - 1];
  }
  bool astray(std::size_t n) const { return n < k / 2 || n > 2 * k; }
  double nudged(double threshold, std::size_t n, double factor) const {
    if (n > k + k / 4) return double(M(threshold * factor));
    if (3 * n < 2 * k) return double(M(threshold / factor));
    return threshold;
  }

  step run(const std::vector<std::vector<T>>& x) {
    const std::size_t cap = std::min(d, std::max<std::size_t>(1, k + k / 4)), pair = 4 + sizeof(T);
    step out;
    out.sent.resize(p), out.received.resize(p), out.cleared.resize(p);
    const auto send = [&](std::size_t r, std::size_t bytes) {
      if (bytes > 0) ++out.sent[r].messages, out.sent[r].bytes += bytes;
    };
    std::vector<std::vector<std::uint32_t>> chosen(p);
    for (std::size_t r = 0; r < p; ++r) {
      const auto exact = [&] {
        std::vector<double> sizes;
        for (const T v : x[r]) sizes.push_back(size(v));
        return kth(sizes);
      };
      const auto collect = [&] {
        chosen[r].clear();
        for (std::size_t i = 0; i < d; ++i)
          if (size(x[r][i]) >= local[r] && size(x[r][i]) > 0) chosen[r].push_back(std::uint32_t(i));
        return chosen[r].size();
      };
      if (t % threshold_period == 0) local[r] = exact();
      std::size_t n = collect();
      if (t % threshold_period != 0 && astray(n) && !(n < k && local[r] == 0)) local[r] = exact(), n = collect();
      local[r] = nudged(local[r], n, 1.012);
      if (n > cap) chosen[r].resize(cap);
    }
    if (p == 1) bounds = {0, d};
    if (p > 1 && (bounds.empty() || t % boundary_period == 0)) {
      bounds.assign(p + 1, 0);
      bounds[p] = d;
      for (std::size_t b = 1; b < p; ++b) {
        std::uint64_t sum = 0;
        for (std::size_t r = 0; r < p; ++r) sum += chosen[r].empty() ? d * b / p : chosen[r][chosen[r].size() * b / p];
        bounds[b] = std::size_t(sum / p);
      }
      for (std::size_t r = 0; r < p; ++r)
        for (std::size_t j = 1; j < p; ++j) send(r, 4 * (p - 1));
    }
    const auto owner = [&](std::uint32_t i) { return std::size_t(std::upper_bound(bounds.begin(), bounds.end() - 1, i) - bounds.begin()) - 1; };
    std::vector<T> sum(d, T{});
    for (std::size_t r = 0; r < p; ++r) {
      std::vector<std::size_t> to(p);
      for (const auto i : chosen[r]) sum[i] = T(sum[i] + x[r][i]), ++to[owner(i)], ++out.received[owner(i)];
      for (std::size_t q = 0; q < p; ++q)
        if (q != r) send(r, 4), send(r, to[q] * pair);
    }
    std::vector<std::size_t> nonzero(p);
    std::vector<double> sizes;
    for (std::size_t i = 0; i < d; ++i)
      if (size(sum[i]) > 0) ++nonzero[owner(std::uint32_t(i))], sizes.push_back(size(sum[i]));
    const auto ring = [&](const std::vector<std::size_t>& counts, std::size_t bytes) {
      for (std::size_t r = 0; r < p; ++r)
        for (std::size_t q = 0; q < p; ++q)
          if (q != (r + 1) % p) send(r, counts[q] * bytes);
    };
    const std::vector<std::size_t> ones(p, 1);
    if (t % threshold_period == 0 || (astray(last) && !(last < k && global == 0))) {
      global = kth(sizes);
      if (p > 1) ring(ones, 4), ring(nonzero, sizeof(T));
    }
    std::vector<std::size_t> kept(p);
    std::size_t all = 0;
    for (std::size_t i = 0; i < d; ++i)
      if (size(sum[i]) > 0 && size(sum[i]) >= global && ++all <= cap) ++kept[owner(std::uint32_t(i))], out.indices.push_back(std::uint32_t(i)), out.values.push_back(sum[i]);
    last = all;
    global = nudged(global, all, 1.008);
    if (p > 1) ring(ones, 4);
    const std::size_t n = out.indices.size();
    out.moved = *std::max_element(kept.begin(), kept.end()) * p > 4 * n;
    if (out.moved) {
      std::map<std::pair<std::size_t, std::size_t>, std::size_t> moves;
      for (std::size_t e = 0; e < n; ++e) {
        std::size_t q = 0;
        while (nth_part(n, q, p).first + nth_part(n, q, p).count <= e) ++q;
        if (owner(out.indices[e]) != q) ++moves[{owner(out.indices[e]), q}];
      }
      for (const auto& [between, count] : moves) send(between.first, count * pair);
      for (std::size_t q = 0; q < p; ++q) kept[q] = nth_part(n, q, p).count;
    }
    if (p > 1) ring(kept, pair);
    for (std::size_t r = 0; r < p; ++r)
      std::set_intersection(chosen[r].begin(), chosen[r].end(), out.indices.begin(), out.indices.end(), std::back_inserter(out.cleared[r]));
    ++t;
    return out;
  }
};

template <class T, class C>
void check_ok_top_k(C& c, shape kind, std::size_t d, std::size_t k, std::size_t steps) {
  const auto p = std::size_t(c.size()), r = std::size_t(c.rank());
  comm::ok_top_k<T> sparse(c.size(), d, k, {.threshold_period = 4, .boundary_period = 8});
  plain_ok_top_k<T> reference{.p = p, .d = d, .k = k, .threshold_period = 4, .boundary_period = 8, .local = std::vector<double>(p)};
  std::vector<std::vector<T>> x(p, std::vector<T>(d));
  for (std::size_t t = 0; t < steps; ++t) {
    for (std::size_t q = 0; q < p; ++q)
      for (std::size_t i = 0; i < d; ++i) x[q][i] = ok_value<T>(kind, i, d, int(q), t);
    const auto expected = reference.run(x);
    const auto wire = c.counters();
    const auto sent = sparse.all_reduce(c, std::span<const T>(x[r]));
    HOLDS(std::equal(sparse.indices().begin(), sparse.indices().end(), expected.indices.begin(), expected.indices.end()));
    HOLDS(sparse.values().size() == expected.values.size());
    for (std::size_t i = 0; i < expected.values.size(); ++i) HOLDS(std::memcmp(&sparse.values()[i], &expected.values[i], sizeof(T)) == 0);
    HOLDS(std::equal(sparse.cleared().begin(), sparse.cleared().end(), expected.cleared[r].begin(), expected.cleared[r].end()));
    HOLDS(sparse.received() == expected.received[r]);
    HOLDS(sparse.rebalanced() == expected.moved);
    HOLDS(sent == expected.sent[r]);
    HOLDS(c.counters().wire_bytes - wire.wire_bytes == sent.bytes);
  }
}

template <class C>
void check_ok_top_k_laws(C& c) {
  for (const shape kind : {shape::random, shape::shared, shape::one_region, shape::moving, shape::zero, shape::shrinking}) {
    check_ok_top_k<float>(c, kind, 1000, 20, 12);
    check_ok_top_k<bfloat16>(c, kind, 300, 10, 6);
  }
  check_ok_top_k<double>(c, shape::random, 500, 50, 6);
  check_ok_top_k<int>(c, shape::random, 500, 25, 6);
  check_ok_top_k<float>(c, shape::random, 10, 10, 5);  // all of them
  check_ok_top_k<float>(c, shape::random, 1, 1, 3);
}

// Heavy use with the paper's periods: volume below six words an entry, regions balanced although all entries of all ranks lie
// in a twentieth of the vector.
template <class C>
void check_ok_top_k_volume(C& c, shape kind) {
  constexpr std::size_t d = 20000, k = 200, steps = 40;
  const auto p = std::size_t(c.size());
  comm::ok_top_k<float> sparse(c.size(), d, k);
  std::vector<float> x(d);
  std::uint64_t words = 0, counted = 0;
  for (std::size_t t = 0; t < steps; ++t) {
    for (std::size_t i = 0; i < d; ++i) x[i] = ok_value<float>(kind, i, d, c.rank(), t);
    const auto sent = sparse.all_reduce(c, std::span<const float>(x));
    if (t % 32 == 0) continue;  // thresholds are exact there, for which all sums are gathered
    words += sent.bytes / 4 - 2 * (p - 1), ++counted;
    HOLDS(sent.bytes <= 7.5 * double(k) * 4 + 8.0 * double(p - 1));
    HOLDS(double(sparse.received()) <= 2.0 * double(k) + 20);
  }
  HOLDS(double(words) <= 6.0 * double(k * counted) * double(p - 1) / double(p));
}

}  // namespace tests
