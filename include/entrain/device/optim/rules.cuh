// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include <cuda_runtime.h>

#include <entrain/core/error.hpp>
#include <entrain/device/optim/update_table.cuh>
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/lamb.hpp>
#include <entrain/optim/lars.hpp>
#include <entrain/optim/one_bit_adam.hpp>
#include <entrain/optim/sgd.hpp>

// The host optimizers' arithmetic for one element, with all that depends on the step alone computed once on the host, as there. A rule has
//
//   fields        state values an element, of which the first `written` change
//   operator()    (block, its rate, gradient scale, gradient, x, state[fields]); M is the type of x and the state
//   adapt         (only where blocks have rates of their own) the rate from the sums of squares of x and of the gradient, or of
//   direction     (only where there is one) what x moves along; it advances the state, and operator() is given no gradient afterwards
//
// and is made by with_rule<M>(optimizer, context, f), which calls f(rule). Wrappers (clipped, scheduled) are their optimizer here. For an
// optimizer of your own write the two in its namespace.

namespace entrain::device {

// One number for weights, one for biases and gains. A select, not an index: an index would put the rule in memory.
template <class M>
struct by_kind {
  M vector, weight;
  __device__ M operator()(const update_block& b) const { return b.weight ? weight : vector; }
};

template <class M>
struct plain_sgd_rule {
  static constexpr int fields = 0, written = 0;
  M rate;
  by_kind<M> decay;
  __device__ void operator()(const update_block& b, const block_rate&, M scale, M gradient, M& x, M*) const { x -= rate * (gradient * scale + decay(b) * x); }
};

template <class M>
struct momentum_sgd_rule {
  static constexpr int fields = 1, written = 1;
  M rate, mu, past, present;
  by_kind<M> decay;
  __device__ void operator()(const update_block& b, const block_rate&, M scale, M gradient, M& x, M* v) const {
    const M g = gradient * scale + decay(b) * x;
    v[0] = mu * v[0] + g;
    x -= rate * (present * g + past * v[0]);
  }
};

template <class M>
struct adamw_rule {
  static constexpr int fields = 2, written = 2;
  by_kind<M> keep;
  M rate, root, b1, b2, c1, c2, epsilon;
  __device__ void operator()(const update_block& b, const block_rate&, M scale, M gradient, M& x, M* s) const {
    const M g = gradient * scale;
    s[0] = b1 * s[0] + c1 * g;
    s[1] = b2 * s[1] + c2 * g * g;
    x = keep(b) * x - rate * s[0] / (std::sqrt(s[1]) * root + epsilon);
  }
};

// 1-bit Adam once its second moment is frozen: what arrives is the momentum.
template <class M>
struct frozen_adam_rule {
  static constexpr int fields = 2, written = 1;
  by_kind<M> keep;
  M rate, root, epsilon;
  __device__ void operator()(const update_block& b, const block_rate&, M scale, M momentum, M& x, M* s) const {
    s[0] = momentum * scale;
    x = keep(b) * x - (s[1] > M(0) ? rate * s[0] / (std::sqrt(s[1]) * root + epsilon) : M(0));
  }
};

template <class M, bool Momentum>
struct lars_rule {
  static constexpr int fields = Momentum ? 1 : 0, written = fields;
  double learning_rate, trust, weight_decay;
  M mu;
  by_kind<M> shrink;
  by_kind<bool> adapts;
  __device__ block_rate adapt(const update_block& b, double xx, double gg, double scale) const {
    block_rate out{learning_rate, 1, 0};
    if (!adapts(b)) return out;
    const double size = std::sqrt(xx), slope = std::sqrt(gg) * std::abs(scale);
    out.moves = slope > 0;
    if (size > 0) out.rate *= trust * size / (slope + weight_decay * size);
    return out;
  }
  __device__ void operator()(const update_block& b, const block_rate& own, M scale, M gradient, M& x, M* v) const {
    if (!own.moves) return;
    const M step = M(own.rate) * (gradient * scale + shrink(b) * x);
    if constexpr (Momentum) {
      v[0] = mu * v[0] + step;
      x -= v[0];
    } else {
      x -= step;
    }
  }
};

template <class M>
struct lamb_rule {
  static constexpr int fields = 2, written = 0;
  double learning_rate, smallest_norm, largest_norm;
  M mean, root, b1, b2, c1, c2, epsilon;
  by_kind<M> decay;
  by_kind<bool> adapts;
  __device__ M along(const update_block& b, M x, const M* s) const { return mean * s[0] / (std::sqrt(s[1]) * root + epsilon) + decay(b) * x; }
  __device__ M direction(const update_block& b, M scale, M gradient, M x, M* s) const {
    const M g = gradient * scale;
    s[0] = b1 * s[0] + c1 * g;
    s[1] = b2 * s[1] + c2 * g * g;
    return along(b, x, s);
  }
  __device__ block_rate adapt(const update_block& b, double xx, double uu, double) const {
    const double size = std::sqrt(xx), within = size < smallest_norm ? smallest_norm : size > largest_norm ? largest_norm : size;
    return {adapts(b) && xx > 0 && uu > 0 ? learning_rate * (within / std::sqrt(uu)) : learning_rate, 1, 0};
  }
  __device__ void operator()(const update_block& b, const block_rate& own, M, M, M& x, M* s) const { x -= M(own.rate) * along(b, x, s); }
};

template <class M, class F>
void with_rule(const optim::sgd& o, const optim::update_context& c, F&& f) {
  const M rate = M(c.learning_rate), mu = M(o.momentum), decay = M(o.weight_decay), of_vectors = o.decay_vectors ? decay : M(0);
  if (mu == M(0)) f(plain_sgd_rule<M>{rate, {of_vectors, decay}});
  else f(momentum_sgd_rule<M>{rate, mu, o.nesterov ? mu : M(1), o.nesterov ? M(1) : M(0), {of_vectors, decay}});
}

template <class M, class F>
void with_rule(const optim::adamw& o, const optim::update_context& c, F&& f) {
  const double t = double(c.step) + 1;
  const M keep = M(1 - c.learning_rate * o.weight_decay), rate = M(c.learning_rate / (1 - std::pow(o.beta1, t))), root = M(1 / std::sqrt(1 - std::pow(o.beta2, t)));
  f(adamw_rule<M>{{o.decay_vectors ? keep : M(1), keep}, rate, root, M(o.beta1), M(o.beta2), M(1 - o.beta1), M(1 - o.beta2), M(o.epsilon)});
}

template <class M, class F>
void with_rule(const optim::one_bit_adam& o, const optim::update_context& c, F&& f) {
  if (o.freeze_after == 0) throw usage_error("optim::one_bit_adam", "without dense steps there is no second moment, and no parameter would move", "freeze_after of 1 or more", "0");
  if (c.step < o.freeze_after) return with_rule<M>(optim::adamw{o.learning_rate, o.beta1, o.beta2, o.epsilon, o.weight_decay}, c, f);
  const M root = M(1 / std::sqrt(1 - std::pow(o.beta2, double(o.freeze_after))));
  f(frozen_adam_rule<M>{{M(1), M(1 - c.learning_rate * o.weight_decay)}, M(c.learning_rate), root, M(o.epsilon)});
}

template <class M, class F>
void with_rule(const optim::lars& o, const optim::update_context& c, F&& f) {
  const M shrink = M(o.weight_decay), of_vectors = o.adapt_vectors ? shrink : M(0);
  const auto make = [&]<bool Momentum>() {
    return lars_rule<M, Momentum>{c.learning_rate, o.trust, o.weight_decay, M(o.momentum), {of_vectors, shrink}, {o.adapt_vectors, true}};
  };
  if (o.momentum == 0) f(make.template operator()<false>());
  else f(make.template operator()<true>());
}

template <class M, class F>
void with_rule(const optim::lamb& o, const optim::update_context& c, F&& f) {
  const double t = double(c.step) + 1;
  const M mean = o.bias_correction ? M(1 / (1 - std::pow(o.beta1, t))) : M(1), root = o.bias_correction ? M(1 / std::sqrt(1 - std::pow(o.beta2, t))) : M(1);
  const M decay = M(o.weight_decay);
  f(lamb_rule<M>{c.learning_rate, o.smallest_norm, o.largest_norm, mean, root, M(o.beta1), M(o.beta2), M(1 - o.beta1), M(1 - o.beta2), M(o.epsilon),
                 {o.decay_vectors ? decay : M(0), decay}, {o.adapt_vectors, true}});
}

}  // namespace entrain::device
