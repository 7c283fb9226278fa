// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <entrain/core/error.hpp>
#include <entrain/optim/concepts.hpp>

// Clipping by global norm, as a wrapper around any optimizer: optim::clipped{optim::adamw{}, 1.0}.

namespace entrain::optim {

// An optimizer that sees gradients whose global L2 norm (over all parameters and ranks, also when sharded) is at most
// `norm`: larger ones are scaled down together (Pascanu et al., ICML 2013). Costs one pass over the gradient and, when
// sharded, one all-reduce of 8 bytes; updates wait until every exchange has finished.
template <class Optimizer>
struct clipped : Optimizer {
  double norm;

  clipped(Optimizer optimizer, double global_norm) : Optimizer(optimizer), norm(global_norm) {}
  double clip_norm() const { return norm; }
  std::string describe() const { return "clipped{" + Optimizer::describe() + ", norm " + entrain::detail::text(norm) + "}"; }
};

}  // namespace entrain::optim
