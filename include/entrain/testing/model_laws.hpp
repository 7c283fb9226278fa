// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/nn/concepts.hpp>

// The laws of a model; they throw entrain::error with the law and the block that breaks it.
//
//   check_gradient(model, batch, seed)   the gradient equals central differences of the loss, to 1e-6 (double precision only)
//   check_model(model, batch, seed)      all of these, as far as the model's concept goes:
//     differentiable  1. initialise() gives the same values for the same seed, and others for another.
//                     2. Two calls give the same loss and gradient, bit for bit.
//                     3. Gradients are added to what is there.
//                     4. Sums, not means: the parts of a batch add up to the whole (not asked of models whose samples see
//                        each other, such as batch norm: pass {.samples_are_independent = false}).
//                     5. An empty batch returns {0, 0} and adds nothing.
//     layered         6. ready(block) comes once a block, when its gradient is final, also for an empty batch.
//                     7. pass.accumulate = false overwrites whatever the blocks held, also for an empty batch.
//     staged          8. Cut between any two units, or between all, stages in sequence give the whole's loss and gradient,
//                        also with several micro-batches in flight, and with the backward pass in two halves.
//
// `batch` should have at least three samples. The model is small: law 8 runs it once a unit.

namespace entrain::testing {

struct model_law_options {
  bool samples_are_independent = true;
};

namespace detail {

inline void require_model(bool holds, const std::string& law, const std::string& found = {}) {
  if (!holds) throw error("law of models", law + " does not hold", {}, found);
}

template <class M>
using values_of = std::vector<typename M::value_type>;

template <class M>
loss_sum evaluate_into(M& model, const values_of<M>& p, const typename M::batch_type& batch, values_of<M>& g, const nn::pass& how) {
  using T = typename M::value_type;
  const std::span<const T> parameters(p);
  const std::span<T> gradient(g);
  if constexpr (nn::layered<M>) return model.loss_and_gradient(parameters, batch, gradient, how, [](std::size_t) {});
  else return model.loss_and_gradient(parameters, batch, gradient);
}

template <class T>
constexpr double law_tolerance() {
  return std::is_same_v<T, double> ? 1e-11 : 2e-5;
}

// Blocks of two gradients agree, relative to the block's largest value.
template <class T>
void require_same_gradient(const parameter_layout& layout, const std::vector<T>& a, const std::vector<T>& b, const std::string& law) {
  double all = 0;
  for (const T v : a) all = std::max(all, std::abs(double(v)));
  for (const auto& block : layout.blocks()) {
    double largest = 1e-3 * all, apart = 0;
    for (std::size_t i = block.offset; i < block.offset + block.count; ++i) {
      largest = std::max(largest, std::abs(double(a[i])));
      apart =
          std::isfinite(double(b[i])) ? std::max(apart, std::abs(double(a[i]) - double(b[i]))) : std::numeric_limits<double>::infinity();
    }
    require_model(apart <= law_tolerance<T>() * largest, law,
                  "block " + block.name + " off by " + std::to_string(apart / largest) + " of its largest value");
  }
}

template <class T>
void require_same_loss(const loss_sum& a, const loss_sum& b, const std::string& law) {
  require_model(
      a.count == b.count && std::abs(a.sum - b.sum) <= law_tolerance<T>() * std::max(1.0, std::abs(a.sum)), law,
      std::to_string(a.sum) + " of " + std::to_string(a.count) + " and " + std::to_string(b.sum) + " of " + std::to_string(b.count));
}

template <class M>
void check_ready_and_overwriting(M& model, const values_of<M>& p, const typename M::batch_type& batch, nn::pass how,
                                 const values_of<M>& expected) {
  using T = typename M::value_type;
  const auto& layout = model.layout();
  values_of<M> g(layout.size()), seen(layout.size());
  for (const auto& block : layout.blocks())
    std::fill_n(g.begin() + std::ptrdiff_t(block.offset), block.count, std::numeric_limits<T>::quiet_NaN());
  std::vector<int> calls(layout.blocks().size());
  how.accumulate = false;
  model.loss_and_gradient(std::span<const T>(p), batch, std::span<T>(g), how, [&](std::size_t b) {
    require_model(b < calls.size(), "ready() names a block of the layout", std::to_string(b));
    ++calls[b];
    std::copy_n(g.begin() + std::ptrdiff_t(layout[b].offset), layout[b].count, seen.begin() + std::ptrdiff_t(layout[b].offset));
  });
  for (std::size_t b = 0; b < calls.size(); ++b)
    require_model(calls[b] == 1, "ready() comes once a block", layout[b].name + " " + std::to_string(calls[b]) + " times");
  require_same_gradient(layout, expected, g, "pass.accumulate = false overwrites");
  require_model(std::equal(g.begin(), g.end(), seen.begin()), "a block is final when ready() is called");
}

// The stages between `cuts`, all micro-batches forward, then all backward (in two halves when `split`).
template <class M>
void check_stages(M& model, const std::vector<std::size_t>& cuts, const values_of<M>& p, const typename M::batch_type& batch, nn::pass how,
                  std::size_t micro_batches, bool split, const loss_sum& expected_loss, const values_of<M>& expected) {
  using T = typename M::value_type;
  const std::string law =
      "stages in sequence equal the whole, cut before unit " + std::to_string(cuts[1]) + (split ? ", in two halves" : "");
  using stage_type = decltype(model.make_stage(0, 0, 0));
  std::vector<stage_type> stages;
  for (std::size_t s = 0; s + 1 < cuts.size(); ++s) stages.push_back(model.make_stage(cuts[s], cuts[s + 1], micro_batches));
  std::vector<typename M::batch_type> pieces(micro_batches);
  std::vector<nn::pass> passes(micro_batches, how);
  loss_sum loss;
  values_of<M> g(expected.size());
  const view<const T> parameters(p.data(), p.size());
  for (std::size_t m = 0; m < micro_batches; ++m) {
    const auto piece = nth_part(batch.samples, m, micro_batches);
    slice(batch, piece.first, piece.count, pieces[m]);
    passes[m].first_sample += piece.first;
    values_of<M> in, out;
    for (auto& stage : stages) {
      out.assign(pieces[m].samples * stage.boundary_out(), T(0));
      loss += stage.forward(parameters, pieces[m], view<const T>(in.data(), in.size()), view<T>(out.data(), out.size()), m, passes[m]);
      in.swap(out);
    }
  }
  const view<T> gradient(g.data(), g.size());
  const auto ready = [](std::size_t) {};
  for (std::size_t m = micro_batches; m-- > 0;) {
    values_of<M> dout, din;
    for (std::size_t s = stages.size(); s-- > 0; dout.swap(din)) {
      din.assign(pieces[m].samples * stages[s].boundary_in(), T(0));
      const view<const T> above(dout.data(), dout.size());
      const view<T> below(din.data(), din.size());
      if constexpr (requires { stages[s].backward_input(parameters, pieces[m], above, below, m, passes[m]); }) {
        if (split) {
          stages[s].backward_input(parameters, pieces[m], above, below, m, passes[m]);
          continue;
        }
      }
      stages[s].backward(parameters, pieces[m], above, below, gradient, m, passes[m], ready);
    }
  }
  if constexpr (requires(stage_type& stage) { stage.backward_parameters(parameters, batch, gradient, 0, how, ready); }) {
    for (std::size_t m = 0; split && m < micro_batches; ++m)
      for (auto& stage : stages) stage.backward_parameters(parameters, pieces[m], gradient, m, passes[m], ready);
  }
  require_same_loss<T>(expected_loss, loss, law);
  require_same_gradient(model.layout(), expected, g, law);
}

template <class M>
void check_all_cuts(M& model, const values_of<M>& p, const typename M::batch_type& batch, const nn::pass& how, const loss_sum& loss,
                    const values_of<M>& expected, const model_law_options& options) {
  const std::size_t units = model.units();
  std::vector<std::size_t> every(units + 1);
  for (std::size_t u = 0; u <= units; ++u) every[u] = u;
  for (const bool split : {false, true}) {
    for (const std::size_t micro_batches : {std::size_t(1), std::size_t(3)}) {
      if (micro_batches > 1 && !options.samples_are_independent) continue;
      for (std::size_t u = 1; u < units; ++u) check_stages(model, {0, u, units}, p, batch, how, micro_batches, split, loss, expected);
      check_stages(model, {0, units}, p, batch, how, micro_batches, split, loss, expected);
      check_stages(model, every, p, batch, how, micro_batches, split, loss, expected);
    }
  }
}

}  // namespace detail

// Compares up to `coordinates` random elements of every block with a fourth-order central difference. A coordinate passes
// with the best of three step widths, so that a kink (ReLU, maximum) within one of them is no failure.
template <class M>
  requires nn::differentiable<M> && std::is_same_v<typename M::value_type, double>
void check_gradient(M& model, const typename M::batch_type& batch, std::uint64_t seed = 1, std::size_t coordinates = 12,
                    double tolerance = 1e-6) {
  nn::pass how;
  how.seed = seed;
  const parameter_layout layout = model.layout();
  std::vector<double> p(layout.size()), g(layout.size()), unused(layout.size());
  model.initialise(std::span<double>(p), seed);
  const random_stream random(seed, purpose::user, 77);
  for (const auto& block : layout.blocks())  // biases of zero and gains of one hide errors
    for (std::size_t i = 0; block.kind == block_kind::vector && i < block.count; ++i)
      p[block.offset + i] += 0.1 * random.normal(block.offset + i);
  const double scale = std::abs(detail::evaluate_into(model, p, batch, g, how).sum);
  const auto loss_at = [&](double& x, double value) {
    const double old = x;
    x = value;
    const double sum = detail::evaluate_into(model, p, batch, unused, how).sum;
    x = old;
    return sum;
  };
  for (const auto& block : layout.blocks()) {
    if (block.kind == block_kind::statistic) continue;
    double largest = 0;
    for (std::size_t i = 0; i < block.count; ++i) largest = std::max(largest, std::abs(g[block.offset + i]));
    for (std::size_t n = 0; n < std::min(coordinates, block.count); ++n) {
      const std::size_t i = block.offset + (block.count <= coordinates ? n : std::size_t(random.below(n, block.count)));
      double best = std::numeric_limits<double>::infinity();
      for (const double h : {1e-3, 1e-4, 1e-5}) {
        const double x = p[i];
        const double slope =
            (8 * (loss_at(p[i], x + h) - loss_at(p[i], x - h)) - (loss_at(p[i], x + 2 * h) - loss_at(p[i], x - 2 * h))) / (12 * h);
        best = std::min(best, std::abs(slope - g[i]) / std::max({std::abs(slope), std::abs(g[i]), 1e-2 * largest, 1e-5 * scale, 1e-12}));
        if (best <= tolerance) break;
      }
      detail::require_model(
          best <= tolerance, "the gradient equals central differences of the loss",
          "block " + block.name + ", element " + std::to_string(i - block.offset) + ": relative error " + std::to_string(best));
    }
  }
}

template <class M>
  requires nn::differentiable<M>
void check_model(M& model, const typename M::batch_type& batch, std::uint64_t seed = 1, const model_law_options& options = {}) {
  using T = typename M::value_type;
  const parameter_layout layout = model.layout();
  const std::size_t n = layout.size();
  nn::pass how;
  how.seed = seed;

  std::vector<T> p(n), other(n);
  model.initialise(std::span<T>(p), seed);
  model.initialise(std::span<T>(other), seed + 1);
  detail::require_model(p != other, "initialise() follows the seed");
  model.initialise(std::span<T>(other), seed);
  detail::require_model(p == other, "initialise() gives the same values for the same seed");

  std::vector<T> g(n), again(n), added(n, T(1));
  const loss_sum loss = detail::evaluate_into(model, p, batch, g, how);
  const loss_sum second = detail::evaluate_into(model, p, batch, again, how);
  detail::require_model(loss.sum == second.sum && loss.count == second.count && g == again, "two calls give the same result");
  detail::evaluate_into(model, p, batch, added, how);
  for (auto& v : added) v -= T(1);
  for (std::size_t i = 0; i < n; ++i) added[i] = std::abs(added[i] - g[i]) <= T(4e-6) * (1 + std::abs(g[i])) ? g[i] : added[i];
  detail::require_same_gradient(layout, g, added, "gradients are added to what is there");

  if constexpr (sliceable<typename M::batch_type>) {
    typename M::batch_type piece;
    std::vector<T> sum(n);
    loss_sum parts;
    for (std::size_t i = 0; i < 2; ++i) {
      const auto half = nth_part(batch.samples, i, 2);
      slice(batch, half.first, half.count, piece);
      nn::pass shifted = how;
      shifted.first_sample = half.first;
      parts += detail::evaluate_into(model, p, piece, sum, shifted);
    }
    if (options.samples_are_independent) {
      detail::require_same_loss<T>(loss, parts, "the losses of a batch's parts add up");
      detail::require_same_gradient(layout, g, sum, "the gradients of a batch's parts add up");
    }
    slice(batch, 0, 0, piece);
    again = g;
    const loss_sum none = detail::evaluate_into(model, p, piece, again, how);
    detail::require_model(none.sum == 0 && none.count == 0 && again == g, "an empty batch returns {0, 0} and adds nothing");
    if constexpr (nn::layered<M>) detail::check_ready_and_overwriting(model, p, piece, how, std::vector<T>(n));
  }
  if constexpr (nn::layered<M>) detail::check_ready_and_overwriting(model, p, batch, how, g);
  if constexpr (nn::staged<M> && sliceable<typename M::batch_type>) detail::check_all_cuts(model, p, batch, how, loss, g, options);
}

}  // namespace entrain::testing
