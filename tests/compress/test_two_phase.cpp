// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <entrain/compress/majority_vote.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/two_phase.hpp>
#include <entrain/testing/compressor_laws.hpp>

using namespace entrain;

namespace {

// One step of p ranks, by hand; returns what all of them decode.
template <class T, class C>
std::vector<T> exchange(const C& c, std::vector<compress::state_of<C, T>>& states, std::vector<std::vector<T>> g, std::uint64_t step = 0) {
  using wire = compress::wire_of<C, T>;
  const std::size_t p = g.size(), n = g[0].size(), each = compress::two_phase<compress::sign>::part_values(n, p), length = c.template part_count<T>(each);
  compress::context where{.seed = 5, .step = step, .block = 1, .ranks = std::uint32_t(p)};
  std::vector<std::vector<wire>> sent(p, std::vector<wire>(p * length)), combined(p, std::vector<wire>(length));
  for (std::uint32_t r = 0; r < p; ++r) {
    where.rank = r;
    c.encode_parts(states[r], where, std::span<T>(g[r]), each, std::span<wire>(sent[r]));
  }
  std::vector<T> out(n);
  for (std::uint32_t j = 0; j < p; ++j) {
    std::vector<wire> arrived;
    for (const auto& s : sent) arrived.insert(arrived.end(), s.begin() + std::ptrdiff_t(j * length), s.begin() + std::ptrdiff_t((j + 1) * length));
    where.rank = j;
    const std::size_t first = std::min(n, j * each), count = std::min(n, first + each) - first;
    c.template combine<T>(states[j], where, std::span<const wire>(arrived), count, std::span<wire>(combined[j]));
    c.decode_add(where, std::span<const wire>(combined[j]), std::span<T>(out).subspan(first, count), T(1));
  }
  return out;
}

template <class T, class C>
std::vector<compress::state_of<C, T>> states_of(const C& c, std::size_t n, std::size_t p) {
  std::vector<compress::state_of<C, T>> out;
  compress::block b(n);
  b.ranks = p;
  for (std::size_t r = 0; r < p; ++r) out.push_back(c.template make_state<T>(b));
  return out;
}

template <class C>
void check_identity(const C& c) {
  for (const std::size_t p : {1, 2, 3, 5, 8})
    for (const std::size_t n : {1, 7, 100, 1001}) {
      CAPTURE(p, n);
      auto states = states_of<double>(c, n, p);
      std::vector<double> given(n), applied(n);
      for (std::uint64_t step = 0; step < 20; ++step) {
        std::vector<std::vector<double>> g;
        for (std::uint32_t r = 0; r < p; ++r) g.push_back(testing::detail::gaussian<double>(n, std::uint32_t(100 * step + r)));
        for (const auto& one : g)
          for (std::size_t i = 0; i < n; ++i) given[i] += one[i];
        const auto out = exchange<double>(c, states, g, step);
        for (std::size_t i = 0; i < n; ++i) applied[i] += out[i];
      }
      const std::size_t each = compress::two_phase<compress::sign>::part_values(n, p);
      for (std::size_t i = 0; i < n; ++i) {
        double left = states[i / each].part_residual[i % each];
        for (const auto& s : states) left += s.residual[i];
        REQUIRE(std::abs(applied[i] + left - given[i]) < 1e-12 * 20 * double(p) * 10);
      }
    }
}

}  // namespace

TEST_CASE("two phases lose nothing: applied + workers' residuals + owners' residuals = gradients", "[compress]") {
  check_identity(compress::two_phase{compress::sign{}});
  check_identity(compress::two_phase{compress::qsgd{.levels = 4, .bucket = 32}});
}

TEST_CASE("two phases of sign equal the plain form over 20 steps of 4 ranks", "[compress]") {
  const std::size_t n = 203, p = 4, each = 56;
  const compress::two_phase c{compress::sign{}};
  auto states = states_of<double>(c, n, p);
  std::vector<std::vector<double>> worker(p, std::vector<double>(n));
  std::vector<double> owner(n);
  const auto mean_of = [](const std::vector<double>& v, std::size_t from, std::size_t to) {
    double sum = 0;
    for (std::size_t i = from; i < to; ++i) sum += std::abs(v[i]);
    return sum / double(to - from);
  };
  for (std::uint64_t step = 0; step < 20; ++step) {
    std::vector<std::vector<double>> g;
    for (std::uint32_t r = 0; r < p; ++r) g.push_back(testing::detail::gaussian<double>(n, std::uint32_t(7 * step + r)));
    std::vector<double> expected(n);
    std::vector<double> sum = owner;
    for (std::size_t r = 0; r < p; ++r) {
      for (std::size_t i = 0; i < n; ++i) worker[r][i] += g[r][i];
      const double scale = mean_of(worker[r], 0, n);
      for (std::size_t i = 0; i < n; ++i) {
        const double sent = worker[r][i] < 0 ? -scale : scale;
        worker[r][i] -= sent;
        sum[i] += sent;
      }
    }
    for (std::size_t j = 0; j < p; ++j) {
      const std::size_t from = std::min(n, j * each), to = std::min(n, from + each);
      const double scale = mean_of(sum, from, to);
      for (std::size_t i = from; i < to; ++i) expected[i] = sum[i] < 0 ? -scale : scale, owner[i] = sum[i] - expected[i];
    }
    const auto found = exchange<double>(c, states, g, step);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(found[i] == Approx(expected[i]).epsilon(1e-10));
  }
}

TEST_CASE("a vote is the sign of the sum of signs, a tie is +", "[compress]") {
  const compress::majority_vote c;
  for (const std::size_t p : {1, 2, 3, 4, 7})
    for (const std::size_t n : {1, 8, 77, 5000}) {
      auto states = states_of<float>(c, n, p);
      std::vector<std::vector<float>> g;
      for (std::uint32_t r = 0; r < p; ++r) g.push_back(testing::detail::gaussian<float>(n, r));
      const auto out = exchange<float>(c, states, g);
      for (std::size_t i = 0; i < n; ++i) {
        int votes = 0;
        for (const auto& one : g) votes += one[i] < 0 ? -1 : 1;
        REQUIRE(out[i] == (votes < 0 ? -1.0f : 1.0f));
      }
    }
}

TEST_CASE("votes survive 3 of 8 ranks that lie, not 5", "[compress]") {
  const auto distance_after = [](std::size_t liars) {
    const std::size_t n = 50, p = 8;
    const compress::majority_vote c{.momentum = 0.9};
    auto states = states_of<double>(c, n, p);
    std::vector<double> x(n, 1.0);  // minimises |x|^2 / 2 with noisy gradients
    for (std::uint64_t step = 0; step < 300; ++step) {
      std::vector<std::vector<double>> g;
      for (std::uint32_t r = 0; r < p; ++r) {
        g.push_back(testing::detail::gaussian<double>(n, std::uint32_t(8 * step + r)));
        for (std::size_t i = 0; i < n; ++i) g[r][i] = (x[i] + 0.3 * g[r][i]) * (r < liars ? -1 : 1);
      }
      const auto vote = exchange<double>(c, states, g, step);
      for (std::size_t i = 0; i < n; ++i) x[i] -= 0.01 * vote[i];
    }
    double sum = 0;
    for (const double v : x) sum += v * v;
    return std::sqrt(sum / double(n));
  };
  CHECK(distance_after(0) < 0.1);
  CHECK(distance_after(3) < 0.2);
  CHECK(distance_after(5) > 2);
}

TEST_CASE("blocks without values and without magnitude pass through two phases", "[compress]") {
  const compress::two_phase c{compress::sign{}};
  auto states = states_of<float>(c, 0, 3);
  CHECK(exchange<float>(c, states, {{}, {}, {}}).empty());
  for (const float v : {0.0f, 1e-45f, 1e30f, -1e30f}) {
    auto some = states_of<float>(c, 3, 5);  // fewer values than ranks
    for (std::uint64_t step = 0; step < 3; ++step)
      for (const float found : exchange<float>(c, some, std::vector<std::vector<float>>(5, std::vector<float>(3, v)), step)) CHECK(found == Approx(5 * v));
  }
}

TEST_CASE("bytes of two phases are those of the documentation", "[compress]") {
  CHECK(compress::two_phase{compress::sign{}}.part_count<float>(1024) == 4 + 128);
  CHECK(compress::majority_vote{}.part_count<float>(1024) == 128);
}

TEMPLATE_TEST_CASE("two phases keep the laws", "[compress]", float, double) {
  testing::check_compressor<TestType>(compress::two_phase{compress::sign{}});
  testing::check_compressor<TestType>(compress::two_phase{compress::sign{}, false});
  testing::check_compressor<TestType>(compress::two_phase{compress::qsgd{.levels = 4, .bucket = 32}});
  testing::check_compressor<TestType>(compress::majority_vote{.momentum = 0.9});
}
