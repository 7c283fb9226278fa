// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include <entrain/comm/algorithms/folding.hpp>

// Pieces of a folded group: the core's rank j stands for those in [first_piece(fold, j), first_piece(fold, j + 1)), one or two
// neighbours; the first ones stand for two.
namespace entrain::comm::algorithms {

constexpr int first_piece(const folding& fold, int j) { return j + std::min(j, fold.extra); }

}  // namespace entrain::comm::algorithms
