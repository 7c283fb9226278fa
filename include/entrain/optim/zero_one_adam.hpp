// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/optim/concepts.hpp>

// 0/1 Adam (Lu, Li, Zhang, De Sa, He, "Maximizing communication efficiency for large-scale training via 0/1 Adam", ICLR 2023): Adam
// that decides by itself what travels, and when. It goes with parallel::data and a compressor for the moves:
//
//   trainer run{model, optim::zero_one_adam{.learning_rate = 1e-3}, world, compress::two_phase{compress::sign{}}};
//
// Steps of T_v. The exact gradient travels and is averaged to g; every rank then takes the same step of Adam:
//   v = beta2 v + (1 - beta2) g^2;   m = beta1 m + (1 - beta1) g;   x -= rate m / sqrt(v + epsilon)
// All other steps. Rank i goes on alone, with its own gradient:
//   m_i = beta1 m_i + (1 - beta1) g_i;   u_i += rate m_i;   x_i = x - u_i / sqrt(v + epsilon)       x: the last synchronisation's
// and if the step is one of T_u, the u_i travel through the compressor, which keeps what it leaves out, and arrive as their mean u:
//   x -= u / sqrt(v + epsilon);   m_i = u / (sum of the rates since the last synchronisation);   u_i = 0
//
// T_v: the distance to the next step of T_v doubles after every `kappa` of them (1, 1, ..., 2, 2, ..., 4, ...); with the first distance
// beyond `longest_variance_interval` v is frozen for good, at step frozen_at(). T_u: every step before that; afterwards the distance
// doubles every `double_every` steps, up to `longest_interval` (H in the paper, where it doubles as often as the rate has halved).
//
// Where this differs from algorithm 1 of the paper: v is updated before it is used, as in Adam, so that the first step does not divide by
// sqrt(epsilon); at a step of T_v the exact gradient takes the place of the compressed u, which would be a second message of what is
// known already (the authors' own program does so, too); m and v are freed of their bias towards 0, v by the number of its updates.
//
// Pitfall: where gradients shrink much further after the freezing, Adam's steps would grow with them and these do not: freeze late.
//
// epsilon stands under the root, as in the paper: 1e-16 is what 1e-8 is in optim::adamw. Decoupled weight decay, on weights only, takes
// place at synchronisations (rates since the last one * weight_decay). Parameters whose gradient was 0 in all steps of T_v (unused
// embeddings) have no v, and stay where they are. A learning rate of 0 from one synchronisation to the next forgets m.
// Memory: four values a parameter (m, v, u and x between synchronisations), and the compressor's.

namespace entrain::optim {

struct zero_one_adam {
  using slot_type = slot::optimizer;
  static constexpr std::array<std::string_view, 2> fields{"first_moment", "second_moment"};
  static constexpr bool elementwise = true;
  static constexpr bool owns_communication = true;

  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-16;  // under the root
  double weight_decay = 0;
  std::uint64_t kappa = 16;                      // updates of v until their distance doubles
  std::uint64_t longest_variance_interval = 64;  // steps
  std::uint64_t double_every = 32768;            // steps until the distance of synchronisations doubles
  std::uint64_t longest_interval = 16;           // steps

  double learning_rate_at(std::uint64_t) const { return learning_rate; }

  // The first step with a frozen v: kappa * (1 + 2 + 4 + ... up to the longest interval).
  std::uint64_t frozen_at() const {
    std::uint64_t at = 0;
    for (std::uint64_t each = 1; each <= std::min(longest_variance_interval, std::uint64_t(1) << 40); each *= 2) at += kappa * each;
    return at;
  }
  bool averages_gradient(std::uint64_t step) const { return step < frozen_at() && position(step).past == 0; }  // T_v
  bool synchronises(std::uint64_t step) const {                                                              // T_u
    const std::uint64_t begin = frozen_at();
    if (step < begin) return true;
    const std::uint64_t local = step - begin;
    std::uint64_t each = 1;
    for (std::uint64_t i = local / std::max<std::uint64_t>(1, double_every); i > 0 && 2 * each <= longest_interval; --i) each *= 2;
    return (local + 1) % each == 0;
  }
  // Factor of the learning rate: m of the first steps is too small by that.
  double rate_factor(std::uint64_t step) const { return 1 / (1 - std::pow(beta1, double(step) + 1)); }
  // Factor of v, which has been updated so often by then.
  double variance_factor(std::uint64_t step) const { return 1 / (1 - std::pow(beta2, double(updates(step)))); }

  void check() const {
    if (kappa == 0 || longest_variance_interval == 0) throw usage_error("optim::zero_one_adam", "the variance would never be known, and no parameter would move", "kappa and longest_variance_interval of 1 or more", "0");
  }

  // What a rank keeps is its share of m and u: the sum over ranks is the mean over ranks of the paper's. Each is called for n elements
  // of one block; g * scale is the gradient's mean over all samples (average), or this rank's share in it (advance).

  // A step of T_v, but for x: share = m / ranks, v.
  template <class T>
  void average(double scale, double ranks, const T* g, T* share, T* v, std::size_t n) const {
    run_average<T>(T(scale), T(beta1), T((1 - beta1) / ranks), T(beta2), T(1 - beta2), g, share, v, n);
  }
  // A step of this rank alone, but for x.
  template <class T>
  void advance(double scale, double rate, const T* g, T* share, T* moved, std::size_t n) const {
    run_advance<T>(T(beta1), T((1 - beta1) * scale), T(rate), g, share, moved, n);
  }
  // to = from without the decay - factor * moved / sqrt(v + epsilon). `rates`: learning rates since the last synchronisation.
  template <class T>
  void move(std::uint64_t step, double rates, block_kind kind, double factor, const T* from, const T* moved, const T* v, T* to, std::size_t n) const {
    const double keep = 1 - (kind == block_kind::weight ? rates * weight_decay : 0.0);
    run_move<T>(T(keep), T(factor), T(variance_factor(step)), T(epsilon), from, moved, v, to, n);
  }

  std::string describe() const {
    return describe_members("zero_one_adam", "learning_rate", learning_rate, "beta1", beta1, "beta2", beta2, "epsilon", epsilon, "weight_decay", weight_decay, "kappa", kappa,
                            "longest_variance_interval", longest_variance_interval, "double_every", double_every, "longest_interval", longest_interval);
  }
  friend bool operator==(const zero_one_adam&, const zero_one_adam&) = default;

 private:
  struct place {
    std::uint64_t before = 0, each = 1, past = 0;  // updates of v before this distance's first; the distance; steps since the last update
    std::uint64_t index = 0;                       // of the last update among those of its distance
  };
  // Where a step before the freezing lies among the updates of v.
  place position(std::uint64_t step) const {
    place p;
    for (; step >= kappa * p.each; p.each *= 2) step -= kappa * p.each, p.before += kappa;
    p.index = step / p.each, p.past = step % p.each;
    return p;
  }
  std::uint64_t updates(std::uint64_t step) const {
    const std::uint64_t end = frozen_at();
    const place p = position(std::min(step, end - 1));
    return p.before + p.index + 1;
  }

  // Apart and never inlined, as in adamw, so that they become vector arithmetic.
  template <class T>
  [[gnu::noinline]] static void run_average(T scale, T b1, T c1, T b2, T c2, const T* __restrict gradient, T* __restrict m, T* __restrict v, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      const T g = gradient[i] * scale;
      m[i] = b1 * m[i] + c1 * g;
      v[i] = b2 * v[i] + c2 * g * g;
    }
  }
  template <class T>
  [[gnu::noinline]] static void run_advance(T b1, T c1, T rate, const T* __restrict g, T* __restrict m, T* __restrict u, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      m[i] = b1 * m[i] + c1 * g[i];
      u[i] += rate * m[i];
    }
  }
  template <class T>
  [[gnu::noinline]] static void run_move(T keep, T factor, T unbiased, T epsilon, const T* from, const T* u, const T* v, T* to, std::size_t n) {
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) to[i] = keep * from[i] - (v[i] > T(0) ? factor * u[i] / std::sqrt(v[i] * unbiased + epsilon) : T(0));
  }
};

}  // namespace entrain::optim
