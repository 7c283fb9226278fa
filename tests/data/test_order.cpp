// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "catch.hpp"
#include <entrain/data/order.hpp>

namespace data = entrain::data;

namespace {

// Upper quantile of chi-square by Wilson and Hilferty; z = 4.0 is a confidence of 1 - 3.2e-5 for one test.
double chi_square_limit(double degrees, double z = 4.0) {
  const double a = 2.0 / (9.0 * degrees);
  return degrees * std::pow(1.0 - a + z * std::sqrt(a), 3);
}

double chi_square(const std::vector<std::uint64_t>& counts) {
  double total = 0, sum = 0;
  for (auto c : counts) total += double(c);
  const double expected = total / double(counts.size());
  for (auto c : counts) sum += (double(c) - expected) * (double(c) - expected) / expected;
  return sum;
}

}  // namespace

TEST_CASE("every epoch is a permutation", "[data][order]") {
  for (std::uint64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, 256, 257, 1000, 4096, 4097, 65537})
    for (std::uint64_t seed : {0ull, 1ull, 0xffffffffffffffffull})
      for (std::uint64_t epoch : {0, 1, 17}) {
        const auto order = data::sample_order{n, seed}.epoch(epoch);
        std::vector<char> seen(n, 0);
        for (std::uint64_t i = 0; i < n; ++i) {
          const auto s = order.at(i);
          REQUIRE(s < n);
          REQUIRE(!seen[s]);
          seen[s] = 1;
        }
      }
}

TEST_CASE("a million samples, and far more", "[data][order]") {
  const std::uint64_t n = 1000000;
  const auto order = data::sample_order{n, 5}.epoch(3);
  std::vector<char> seen(n, 0);
  std::uint64_t fixed = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    const auto s = order.at(i);
    REQUIRE(s < n);
    REQUIRE(!seen[s]);
    seen[s] = 1;
    fixed += s == i;
  }
  CHECK(fixed < 12);  // Poisson with mean 1: P(12 or more) < 1e-9

  const std::uint64_t large = (std::uint64_t{1} << 40) + 12345;
  const auto sampled = data::sample_order{large, 9}.epoch(0);
  std::set<std::uint64_t> values;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const auto s = sampled.at(i * 54975581);
    REQUIRE(s < large);
    REQUIRE(values.insert(s).second);
  }
}

TEST_CASE("without shuffling the order is the identity", "[data][order]") {
  for (std::uint64_t i = 0; i < 10; ++i) CHECK(data::sample_order{10, 3, false}.at(4, i) == i);
}

TEST_CASE("all permutations of small sets are equally likely", "[data][order]") {
  for (std::uint64_t n : {2, 3, 4, 5, 6}) {
    std::map<std::vector<std::uint64_t>, std::uint64_t> found;
    std::uint64_t permutations = 1;
    for (std::uint64_t k = 2; k <= n; ++k) permutations *= k;
    for (std::uint64_t trial = 0; trial < 1000 * permutations; ++trial) {
      const auto order = data::sample_order{n, trial / 16}.epoch(trial % 16);
      std::vector<std::uint64_t> p;
      for (std::uint64_t i = 0; i < n; ++i) p.push_back(order.at(i));
      ++found[p];
    }
    REQUIRE(found.size() == permutations);
    std::vector<std::uint64_t> counts;
    for (const auto& f : found) counts.push_back(f.second);
    CHECK(chi_square(counts) < chi_square_limit(double(permutations - 1)));
  }
}

TEST_CASE("all triples at the first three places are equally likely", "[data][order]") {
  for (std::uint64_t n : {8, 9, 11, 16, 17}) {
    std::vector<std::uint64_t> counts(n * n * n, 0), possible;
    for (std::uint64_t trial = 0; trial < 100 * n * n * n; ++trial) {
      const auto order = data::sample_order{n, trial / 64 + 1000}.epoch(trial % 64);
      ++counts[(order.at(0) * n + order.at(1)) * n + order.at(2)];
    }
    for (std::uint64_t a = 0; a < n; ++a)
      for (std::uint64_t b = 0; b < n; ++b)
        for (std::uint64_t c = 0; c < n; ++c)
          if (a != b && b != c && a != c) possible.push_back(counts[(a * n + b) * n + c]);
    CHECK(chi_square(possible) < chi_square_limit(double(possible.size() - 1)));
  }
}

TEST_CASE("a place holds every sample equally often, and neighbours are independent", "[data][order]") {
  for (std::uint64_t n : {7, 13, 64, 100, 1000}) {
    for (std::uint64_t place : {std::uint64_t{0}, n / 2, n - 1}) {
      std::vector<std::uint64_t> first(n, 0), difference(n - 1, 0);
      for (std::uint64_t epoch = 0; epoch < 100 * n; ++epoch) {
        const auto order = data::sample_order{n, 42}.epoch(epoch);
        const auto a = order.at(place), b = order.at((place + 1) % n);
        ++first[a];
        ++difference[(b + n - a) % n - 1];
      }
      CHECK(chi_square(first) < chi_square_limit(double(n - 1)));
      CHECK(chi_square(difference) < chi_square_limit(double(n - 2)));
    }
  }
}

TEST_CASE("within one large epoch the order looks random", "[data][order]") {
  const std::uint64_t n = 200003, cells = 20;
  const auto order = data::sample_order{n, 1}.epoch(0);
  std::vector<std::uint64_t> joint(cells * cells, 0), steps(50, 0);
  for (std::uint64_t i = 0; i < n; ++i) {
    ++joint[i * cells / n * cells + order.at(i) * cells / n];
    ++steps[(order.at((i + 1) % n) + n - order.at(i)) % n * steps.size() / n];
  }
  CHECK(chi_square(joint) < chi_square_limit(double((cells - 1) * (cells - 1))));
  CHECK(chi_square(steps) < chi_square_limit(double(steps.size() - 1)));
}

TEST_CASE("seeds and epochs give different orders, the same ones the same", "[data][order]") {
  auto head = [](std::uint64_t seed, std::uint64_t epoch) {
    std::vector<std::uint64_t> out;
    for (std::uint64_t i = 0; i < 8; ++i) out.push_back(data::sample_order{100000, seed}.at(epoch, i));
    return out;
  };
  CHECK(head(1, 0) == head(1, 0));
  CHECK(head(1, 0) != head(1, 1));
  CHECK(head(1, 0) != head(2, 0));
  CHECK(head(std::uint64_t{1} << 32, 0) != head(0, 0));
}

TEST_CASE("slices cover a batch without gap or overlap", "[data][order]") {
  for (std::uint64_t batch : {0, 1, 2, 5, 12, 13, 100})
    for (std::uint64_t ranks : {1, 2, 3, 4, 5, 17}) {
      std::uint64_t next = 0, last = batch;
      for (std::uint64_t r = 0; r < ranks; ++r) {
        const auto s = data::batch_slice(batch, r, ranks);
        CHECK(s.first == next);
        CHECK(s.count <= last);
        CHECK(s.count + 1 >= batch / ranks + 1);
        last = s.count;
        next += s.count;
      }
      CHECK(next == batch);
    }
}

TEST_CASE("ranks together see what one rank sees", "[data][order]") {
  for (std::uint64_t n : {1, 5, 24, 101})
    for (std::uint64_t batch : {1, 3, 8, 200})
      for (std::uint64_t ranks : {1, 2, 3, 4, 5}) {
        const data::sample_order order{n, 7};
        const auto steps = data::steps_per_epoch(n, batch);
        std::vector<std::uint64_t> alone, part, epoch;
        for (std::uint64_t step = 0; step < 2 * steps; ++step) {
          data::step_indices(order, step, batch, 0, 1, alone);
          std::vector<std::uint64_t> together;
          for (std::uint64_t r = 0; r < ranks; ++r) {
            const auto p = data::step_indices(order, step, batch, r, ranks, part);
            CHECK(p.epoch == step / steps);
            CHECK(p.global_count == alone.size());
            CHECK(p.own.first == together.size());
            together.insert(together.end(), part.begin(), part.end());
          }
          REQUIRE(together == alone);
          epoch.insert(epoch.end(), alone.begin(), alone.end());
          if (step % steps == steps - 1) {  // an epoch shows every sample once
            std::sort(epoch.begin(), epoch.end());
            REQUIRE(epoch.size() == n);
            for (std::uint64_t i = 0; i < n; ++i) REQUIRE(epoch[i] == i);
            epoch.clear();
          }
        }
      }
}

TEST_CASE("steps over nothing are refused", "[data][order]") {
  std::vector<std::uint64_t> out;
  CHECK_THROWS_AS(data::step_indices({0, 1}, 0, 4, 0, 1, out), entrain::usage_error);
  CHECK_THROWS_AS(data::step_indices({4, 1}, 0, 0, 0, 1, out), entrain::usage_error);
  CHECK_THROWS_AS(data::step_indices({4, 1}, 0, 4, 2, 2, out), entrain::usage_error);
}
