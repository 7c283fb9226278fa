// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/cost_model/profile.hpp>

// Alpha, beta and gamma from measured times: the nonnegative least squares of relative errors, a range of sizes at a time. Sending and
// combining grow alike with the size in most algorithms, so that times alone cannot tell beta from gamma; gamma is drawn to what a
// loop that combines was measured to take, and gives way only where the times are shorter than that.

namespace entrain::comm {

struct timed_call {
  std::uint64_t bytes = 0;  // operand_bytes of the problem
  std::size_t width = 1;
  cost what;                // what the algorithm predicts
  double seconds = 0;
};

namespace fit_detail {

// Sums of squares of the system's rows, for the columns alpha, beta, gamma and the right side.
struct normal_equations {
  std::array<std::array<double, 4>, 4> m{};
  void add(const std::array<double, 4>& row) {
    for (std::size_t i = 0; i < 4; ++i)
      for (std::size_t j = 0; j < 4; ++j) m[i][j] += row[i] * row[j];
  }
  double residual(const std::array<double, 3>& x) const {
    double sum = m[3][3];
    for (std::size_t i = 0; i < 3; ++i) {
      sum -= 2 * x[i] * m[i][3];
      for (std::size_t j = 0; j < 3; ++j) sum += x[i] * x[j] * m[i][j];
    }
    return sum;
  }
  // The solution that uses the columns in `used` (a bit each); false where they do not determine one.
  bool solve(unsigned used, std::array<double, 3>& x) const {
    auto a = m;
    for (std::size_t k = 0; k < 3; ++k) {  // Gauss-Jordan; the matrix is positive semidefinite: no pivoting
      if (!(used >> k & 1u)) continue;
      if (!(a[k][k] > 1e-9 * m[k][k])) return false;
      for (std::size_t i = 0; i < 3; ++i) {
        if (i == k || !(used >> i & 1u)) continue;
        const double factor = a[i][k] / a[k][k];
        for (std::size_t j = 0; j < 4; ++j) a[i][j] -= factor * a[k][j];
      }
    }
    for (std::size_t k = 0; k < 3; ++k) x[k] = used >> k & 1u ? a[k][3] / a[k][k] : 0;
    return true;
  }
};

}  // namespace fit_detail

// gamma: seconds a byte of the combining loop, 0 for a collective that does not combine.
inline link_cost fit_link(std::span<const timed_call> calls, double gamma) {
  fit_detail::normal_equations all;
  // Unknowns in units in which they are of the order of 1: microseconds and nanoseconds a byte.
  for (const timed_call& c : calls)
    if (c.seconds > 0)
      all.add({1e-6 * c.what.alphas / c.seconds, 1e-9 * c.what.betas * double(c.width) / c.seconds, 1e-9 * c.what.gammas * double(c.width) / c.seconds, 1});
  if (gamma > 0) {
    constexpr double strength = 0.05;
    all.add({0, 0, strength * 1e-9 / gamma, strength});
  }
  std::array<double, 3> best{}, x{};
  double least = all.residual(best);
  for (unsigned used = 1; used < 8; ++used) {
    if (gamma <= 0 && (used & 4u)) continue;
    if (!all.solve(used, x) || x[0] < 0 || x[1] < 0 || x[2] < 0) continue;
    if (const double r = all.residual(x); r < least) least = r, best = x;
  }
  return {best[0] * 1e-6, best[1] * 1e-9, best[2] * 1e-9};
}

// One fit for each range [from[i], from[i + 1]], both ends included; gamma[i] holds for it. Ranges with fewer than two sizes are left out.
inline std::vector<cost_range> fit_ranges(std::span<const timed_call> calls, std::span<const std::uint64_t> from, std::span<const double> gamma) {
  std::vector<cost_range> result;
  std::vector<timed_call> here;
  for (std::size_t i = 0; i < from.size(); ++i) {
    here.clear();
    bool two_sizes = false;
    for (const timed_call& c : calls)
      if (c.bytes >= from[i] && (i + 1 == from.size() || c.bytes <= from[i + 1])) {
        here.push_back(c);
        two_sizes |= c.bytes != here[0].bytes;
      }
    if (here.empty() || (!two_sizes && !result.empty())) continue;
    result.push_back({result.empty() ? 0 : from[i], fit_link(here, gamma[i])});
  }
  return result;
}

}  // namespace entrain::comm
