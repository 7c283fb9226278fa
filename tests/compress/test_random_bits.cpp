// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include <entrain/compress/detail/random_bits.hpp>

using namespace entrain;
using compress::detail::random_words;

namespace {

constexpr std::uint32_t draws = 1u << 20;

random_words words(std::uint64_t seed, std::uint64_t step, std::uint32_t block, std::uint32_t rank) {
  return random_words(compress::context{seed, step, block, rank});
}

// Pearson's chi-square of counts that should be equal, in standard deviations from its mean.
template <class Counts>
double surprise(const Counts& counts, double total) {
  const double expected = total / double(counts.size()), freedom = double(counts.size()) - 1;
  double sum = 0;
  for (const auto c : counts) sum += (double(c) - expected) * (double(c) - expected) / expected;
  return (sum - freedom) / std::sqrt(2 * freedom);
}

// Correlation of two streams of uniform numbers, in standard errors of that of independent ones.
template <class F, class G>
double correlation(F a, G b) {
  double sum = 0;
  for (std::uint32_t i = 0; i < draws; ++i) sum += (double(a(i)) - 0.5) * (double(b(i)) - 0.5);
  return sum / draws * 12 * std::sqrt(double(draws));
}

}  // namespace

// Every bound below is five standard errors: for fixed keys the outcome is fixed, and a fair generator misses one in 10^6.
TEST_CASE("words are uniform: mean, variance, bytes and single bits", "[compress]") {
  for (std::uint64_t step = 0; step < 8; ++step) {
    const auto w = words(1, step, 3, 2);
    double mean = 0, square = 0;
    std::array<std::array<std::uint32_t, 256>, 4> bytes{};
    std::array<std::uint32_t, 1024> top{};
    for (std::uint32_t i = 0; i < draws; ++i) {
      const double u = w.uniform(i);
      mean += u / draws, square += u * u / draws;
      for (int k = 0; k < 4; ++k) ++bytes[std::size_t(k)][(w[i] >> (8 * k)) & 255];
      ++top[w[i] >> 22];
    }
    CHECK(std::abs(mean - 0.5) * std::sqrt(12.0 * draws) < 5);
    CHECK(std::abs(square - 1.0 / 3) / std::sqrt(4.0 / 45 / draws) < 5);
    for (const auto& counts : bytes) CHECK(std::abs(surprise(counts, draws)) < 5);
    CHECK(std::abs(surprise(top, draws)) < 5);
  }
}

TEST_CASE("pairs of neighbours fill the square", "[compress]") {
  for (const std::uint32_t lag : {1u, 2u, 8u, 16u, 128u, 1024u}) {
    const auto w = words(7, 11, 1, 0);
    std::vector<std::uint32_t> cells(64 * 64);
    for (std::uint32_t i = 0; i < draws; ++i) ++cells[(w[i] >> 26) * 64 + (w[i + lag] >> 26)];
    CHECK(std::abs(surprise(cells, draws)) < 5);
    CHECK(std::abs(correlation([&](auto i) { return w.uniform(i); }, [&](auto i) { return w.uniform(i + lag); })) < 5);
  }
}

TEST_CASE("ranks, steps, blocks, seeds and draws are independent streams", "[compress]") {
  const auto w = words(5, 9, 2, 1);
  const auto near = {words(5, 9, 2, 2), words(5, 9, 2, 0), words(5, 10, 2, 1), words(5, 8, 2, 1),
                     words(5, 9, 3, 1), words(6, 9, 2, 1), random_words(compress::context{5, 9, 2, 1}, 1)};
  for (const auto& other : near) {
    CHECK(std::abs(correlation([&](auto i) { return w.uniform(i); }, [&](auto i) { return other.uniform(i); })) < 5);
    std::vector<std::uint32_t> cells(64 * 64);
    std::uint64_t same_bits = 0;
    for (std::uint32_t i = 0; i < draws; ++i) {
      ++cells[(w[i] >> 26) * 64 + (other[i] >> 26)];
      same_bits += std::uint64_t(std::popcount(~(w[i] ^ other[i])));
    }
    CHECK(std::abs(surprise(cells, draws)) < 5);
    CHECK(std::abs(double(same_bits) - 16.0 * draws) / std::sqrt(8.0 * draws) < 5);
  }
  // One index over many steps and over many ranks is as uniform as one stream over many indices.
  std::array<std::uint32_t, 256> over_steps{}, over_ranks{};
  for (std::uint32_t k = 0; k < 65536; ++k) {
    ++over_steps[words(5, k, 2, 1)[17] >> 24];
    ++over_ranks[words(5, 9, k / 4096, k % 4096)[17] >> 24];
  }
  CHECK(std::abs(surprise(over_steps, 65536)) < 5);
  CHECK(std::abs(surprise(over_ranks, 65536)) < 5);
}

TEST_CASE("a coin of any chance is fair over 10^6 draws", "[compress]") {
  const auto w = words(3, 0, 0, 0);
  for (const double chance : {1e-4, 0.01, 0.25, 0.5, 0.9}) {
    std::uint32_t heads = 0;
    for (std::uint32_t i = 0; i < draws; ++i) heads += w.uniform(i) < float(chance);
    CHECK(std::abs(double(heads) - chance * draws) / std::sqrt(chance * (1 - chance) * draws) < 5);
  }
}

TEST_CASE("a word is a function of its keys and index alone", "[compress]") {
  const auto w = words(1, 2, 3, 4), again = words(1, 2, 3, 4);
  for (std::uint32_t i = 1000; i-- > 0;) CHECK(w[i] == again[i]);
  STATIC_REQUIRE(random_words(compress::context{1, 2, 3, 4})[5] == random_words(random_stream(1, purpose::compress, 3 * 4096 + 4, 2))[5]);
}
