// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>

// Which blocks of parameters are worth computing: a bandit with several plays (EXP3 by mirror descent; Liu & Mozafari, "JointSpar",
// ICML 2022). Of D blocks, block d is drawn with probability p_d, sum p = S, independently. Its gradient g_d / p_d is right on
// average, with variance sum |g_d|^2 / p_d, which is least for p_d in proportion to |g_d|. The bandit sees |g_d| of drawn
// blocks alone and descends the variance:
//
//   l_d = -(|g_d| / L)^2 / p_d^2 (+ 1 / floor^2 with `shift`) if drawn, else 0       L: the largest norm so far
//   w_d = p_d exp(-rate l_d / p_d)
//   p   = argmin KL(q | w) with sum q = S, floor <= q <= 1: q_d = clip(c w_d, floor, 1) for one c, found by bisection
//
// Norms are taken relative to L, so that `rate` has no unit. The exponent is clipped to +- most_exponent: blocks of small p that
// turn out large would otherwise take the whole budget at once. `shift` is the paper's, which keeps losses positive; it is the
// same for all blocks but only drawn ones feel it, and its noise outweighs what is learnt (variance 5.6 against 5.1 of norms
// 1..8 at S = 4). Everything is fp64 and computed from what all ranks know, so that all ranks hold the same probabilities.
//
// Cost: 200 D operations a step. Memory: four numbers a block.

namespace entrain::compress {

// One block, or several that are drawn together.
struct block_arm {
  bool plays = true;
  double probability = 0;  // 0: not yet begun
  double norm = 0;         // of its gradient, when it was last drawn
  double largest = 0;      // norm so far
  double drawn = 0;        // 1 if it takes part in this step

  void visit(auto&& visitor) { visitor("probability", probability), visitor("norm", norm), visitor("largest", largest), visitor("drawn", drawn); }
};

struct block_bandit {
  double budget = 0;  // S, the expected number of blocks a step
  double floor = 0.0125;
  double rate = 1e-3;
  bool shift = false;
  double most_exponent = 1;

  // The probabilities are those of the step that has ended: learns from what it drew.
  template <class Arm>
  void learn(std::span<Arm> arms) const {
    double largest = 0;
    for (const Arm& a : arms) largest = std::max(largest, a.largest);
    if (!(largest > 0)) return;
    for (Arm& a : arms) {
      if (!a.plays || a.drawn == 0) continue;
      const double relative = a.norm / largest, p = a.probability;
      const double loss = -relative * relative / (p * p) + (shift ? 1 / (floor * floor) : 0);
      a.probability = p * std::exp(std::clamp(-rate * loss / p, -most_exponent, most_exponent));
    }
    project(arms);
  }

  // Positive weights become probabilities: the nearest in the sense of Kullback and Leibler that add to the budget.
  template <class Arm>
  void project(std::span<Arm> arms) const {
    double least = 0, most = 0, arms_in = 0;
    for (const Arm& a : arms) {
      if (!a.plays) continue;
      least = arms_in == 0 ? a.probability : std::min(least, a.probability), most = std::max(most, a.probability), ++arms_in;
    }
    check(arms_in);
    if (arms_in == 0) return;
    const auto clipped = [&](double c, double w) { return std::clamp(c * w, floor, 1.0); };
    double low = floor / most, high = 1 / least;  // all at the floor; all at 1
    for (int round = 0; round < 200 && high > low * (1 + 1e-15); ++round) {
      const double c = std::sqrt(low * high);
      double sum = 0;
      for (const Arm& a : arms) sum += a.plays ? clipped(c, a.probability) : 0;
      (sum < budget ? low : high) = c;
    }
    for (Arm& a : arms)
      if (a.plays) a.probability = clipped(high, a.probability);
  }

  // Begins with equal probabilities, then draws: the same on every rank. `first` is the number of the first arm's random word.
  template <class Arm>
  void draw(std::span<Arm> arms, const random_stream& random, std::uint64_t first = 0) const {
    double arms_in = 0;
    bool fresh = false;
    for (const Arm& a : arms) arms_in += a.plays, fresh = fresh || (a.plays && !(a.probability > 0));
    check(arms_in);
    for (std::size_t i = 0; i < arms.size(); ++i) {
      Arm& a = arms[i];
      if (!a.plays) continue;
      if (fresh) a.probability = budget / arms_in;
      a.norm = 0;
      a.drawn = (double(random.bits64(first + i) >> 11) * 0x1p-53) < a.probability ? 1 : 0;
    }
  }

 private:
  void check(double arms) const {
    if (arms == 0 || (floor > 0 && arms * floor <= budget * (1 + 1e-12) && budget <= arms * (1 + 1e-12))) return;
    throw usage_error("compress::block_bandit", "no probabilities fulfil these bounds",
                      "floor > 0 and blocks x floor <= budget <= blocks",
                      entrain::detail::text(arms, " blocks, floor ", floor, " (", arms * floor, " in all), budget ", budget));
  }
};

}  // namespace entrain::compress
