// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <vector>

#include <entrain/comm/algorithms/binomial_broadcast.hpp>
#include <entrain/comm/algorithms/binomial_gather.hpp>
#include <entrain/comm/algorithms/binomial_scatter.hpp>
#include <entrain/comm/algorithms/bruck_all_gather.hpp>
#include <entrain/comm/algorithms/bruck_all_gather_v.hpp>
#include <entrain/comm/algorithms/bruck_all_to_all.hpp>
#include <entrain/comm/algorithms/chain_broadcast.hpp>
#include <entrain/comm/algorithms/circulant_reduce_scatter.hpp>
#include <entrain/comm/algorithms/dissemination_barrier.hpp>
#include <entrain/comm/algorithms/linear_gather.hpp>
#include <entrain/comm/algorithms/linear_scatter.hpp>
#include <entrain/comm/algorithms/pairwise_all_to_all.hpp>
#include <entrain/comm/algorithms/pairwise_all_to_all_v.hpp>
#include <entrain/comm/algorithms/pairwise_reduce_scatter.hpp>
#include <entrain/comm/algorithms/recursive_doubling_all_gather.hpp>
#include <entrain/comm/algorithms/recursive_halving_reduce_scatter.hpp>
#include <entrain/comm/algorithms/ring_all_gather.hpp>
#include <entrain/comm/algorithms/ring_all_gather_v.hpp>
#include <entrain/comm/algorithms/ring_reduce_scatter.hpp>
#include <entrain/comm/algorithms/scatter_doubling_broadcast.hpp>
#include <entrain/comm/algorithms/scatter_ring_broadcast.hpp>
#include <entrain/testing/algorithm_laws.hpp>

#include "catch.hpp"

using namespace entrain;
namespace a = comm::algorithms;

// The laws (right, in place, never hanging, with exact predictions), then the closed forms of the literature as numbers.

namespace {

void lawful(const comm::algorithm& how, const testing::algorithm_checks& checks = {}) {
  INFO(comm::name_of(how.kind) << " " << how.name);
  CHECK_NOTHROW(testing::check_algorithm(how, checks));
}

struct figures {
  double alphas = 0, betas = 0, gammas = 0;  // of the longest path
  std::uint64_t messages = 0, elements = 0;  // that the rank sends
};
void costs(const comm::algorithm& how, const comm::problem& what, const figures& wanted) {
  INFO(comm::name_of(how.kind) << " " << how.name << ", rank " << what.rank << " of " << what.size);
  const auto k = how.predict(what);
  CHECK(k.alphas == wanted.alphas);
  CHECK(k.betas == wanted.betas);
  CHECK(k.gammas == wanted.gammas);
  CHECK(k.messages == wanted.messages);
  CHECK(k.elements == wanted.elements);
}

}  // namespace

TEST_CASE("reduce-scatter by every algorithm") {
  for (const auto* how : {&a::ring_reduce_scatter, &a::recursive_halving_reduce_scatter, &a::circulant_reduce_scatter,
                          &a::pairwise_reduce_scatter})
    lawful(*how);
  // m = 8 pieces of 10: (P - 1) alpha + (P - 1)/P m (beta + gamma), and log P alpha.
  costs(a::ring_reduce_scatter, {.rank = 3, .size = 8, .count = 10}, {7, 70, 70, 7, 70});
  costs(a::recursive_halving_reduce_scatter, {.rank = 3, .size = 8, .count = 10}, {3, 70, 70, 3, 70});
  costs(a::circulant_reduce_scatter, {.rank = 3, .size = 8, .count = 10}, {3, 70, 70, 3, 70});
  costs(a::circulant_reduce_scatter, {.rank = 3, .size = 7, .count = 10}, {3, 60, 60, 3, 60});  // fewest for any P
  costs(a::recursive_halving_reduce_scatter, {.rank = 1, .size = 7, .count = 10}, {4, 70 + 40 + 20 + 10, 70 + 40 + 20, 1, 70});
  costs(a::pairwise_reduce_scatter, {.rank = 3, .size = 8, .count = 10}, {7, 70, 80, 7, 70});
}

TEST_CASE("all-gather by every algorithm") {
  for (const auto* how : {&a::ring_all_gather, &a::recursive_doubling_all_gather, &a::bruck_all_gather, &a::ring_all_gather_v})
    lawful(*how);
  lawful(a::bruck_all_gather_v, {.uneven_time_tolerance = 0.5});  // an upper bound
  costs(a::ring_all_gather, {.rank = 3, .size = 8, .count = 10}, {7, 70, 0, 7, 70});
  costs(a::recursive_doubling_all_gather, {.rank = 3, .size = 8, .count = 10}, {3, 70, 0, 3, 70});
  costs(a::bruck_all_gather, {.rank = 3, .size = 8, .count = 10}, {3, 70, 0, 3, 70});
  costs(a::bruck_all_gather, {.rank = 3, .size = 13, .count = 10}, {4, 120, 0, 4, 120});
  const std::vector<std::size_t> counts{5, 0, 7, 1}, equal(8, 10);
  costs(a::ring_all_gather_v, {.rank = 1, .size = 4, .counts = counts}, {3, 21, 0, 2, 6});    // all but the 7 of the next one
  costs(a::bruck_all_gather_v, {.rank = 2, .size = 4, .counts = counts}, {2, 7 + 8, 0, 2, 7 + 8});
  costs(a::bruck_all_gather_v, {.rank = 2, .size = 8, .counts = equal}, {3, 70, 0, 3, 70});
}

TEST_CASE("broadcast by every algorithm") {
  for (const auto* how : {&a::binomial_broadcast, &a::scatter_ring_broadcast, &a::scatter_doubling_broadcast, &a::chain_broadcast})
    lawful(*how);
  lawful(a::chain_broadcast, {.sizes = {2, 3, 4, 5, 7, 8}, .width = 100000});  // elements so wide that there are many segments
  // Binomial: ceil(log P) (alpha + m beta); the root sends m ceil(log P), all together (P - 1) m.
  costs(a::binomial_broadcast, {.rank = 2, .size = 13, .count = 10, .root = 2}, {4, 40, 0, 4, 40});
  std::uint64_t sent = 0;
  for (int r = 0; r < 13; ++r) sent += a::binomial_broadcast.predict({.rank = r, .size = 13, .count = 10, .root = 2}).elements;
  CHECK(sent == 12 * 10);
  // Scatter and all-gather: (log P + P - 1) alpha, or 2 log P alpha, and 2 (P - 1)/P m beta.
  costs(a::scatter_ring_broadcast, {.rank = 0, .size = 8, .count = 80}, {3 + 7, 140, 0, 3 + 7, 70 + 70});
  costs(a::scatter_doubling_broadcast, {.rank = 0, .size = 8, .count = 80}, {6, 140, 0, 6, 140});
  costs(a::scatter_doubling_broadcast, {.rank = 4, .size = 8, .count = 80}, {6, 140, 0, 4, 30 + 30});  // to the root nothing
  // Chain: (P - 2 + S) (alpha + m/S beta), here with 6 segments.
  costs(a::chain_broadcast, {.rank = 1, .size = 8, .count = 6, .width = 16384, .root = 1}, {6 + 6, 12, 0, 6, 6});
}

TEST_CASE("gather and scatter by every algorithm") {
  for (const auto* how : {&a::linear_gather, &a::binomial_gather, &a::linear_scatter, &a::binomial_scatter}) lawful(*how);
  costs(a::linear_gather, {.rank = 1, .size = 8, .count = 10}, {7, 70, 0, 1, 10});
  costs(a::binomial_gather, {.rank = 4, .size = 8, .count = 10}, {3, 70, 0, 1, 40});
  costs(a::linear_scatter, {.rank = 0, .size = 8, .count = 10}, {7, 70, 0, 7, 70});
  costs(a::binomial_scatter, {.rank = 0, .size = 8, .count = 10}, {3, 70, 0, 3, 70});
  costs(a::binomial_scatter, {.rank = 7, .size = 8, .count = 10, .root = 3}, {3, 70, 0, 2, 30});
}

TEST_CASE("all-to-all by every algorithm") {
  for (const auto* how : {&a::pairwise_all_to_all, &a::bruck_all_to_all}) lawful(*how);
  lawful(a::pairwise_all_to_all_v, {.time_tolerance = 1, .uneven_time_tolerance = 1});  // a rank knows only its own counts
  // m = 8 pieces of 10: (P - 1) alpha + (P - 1)/P m beta, and ceil(log P) (alpha + m/2 beta).
  costs(a::pairwise_all_to_all, {.rank = 3, .size = 8, .count = 10}, {7, 70, 0, 7, 70});
  costs(a::bruck_all_to_all, {.rank = 3, .size = 8, .count = 10}, {3, 120, 0, 3, 120});
  costs(a::bruck_all_to_all, {.rank = 3, .size = 5, .count = 10}, {3, 50, 0, 3, 50});
  const std::vector<std::size_t> sent{1, 0, 5, 2}, received{3, 4, 5, 0};
  costs(a::pairwise_all_to_all_v, {.rank = 2, .size = 4, .counts = sent, .receive_counts = received}, {2, 7, 0, 2, 3});
}

TEST_CASE("barrier") {
  lawful(a::dissemination_barrier);
  costs(a::dissemination_barrier, {.rank = 3, .size = 8}, {3, 3, 0, 3, 3});
  costs(a::dissemination_barrier, {.rank = 3, .size = 9}, {4, 4, 0, 4, 4});
}

TEST_CASE("empty operands and single ranks cost nothing") {
  for (const auto* how : {&a::ring_reduce_scatter, &a::recursive_halving_reduce_scatter, &a::circulant_reduce_scatter,
                          &a::pairwise_reduce_scatter, &a::ring_all_gather, &a::recursive_doubling_all_gather, &a::bruck_all_gather,
                          &a::binomial_broadcast, &a::scatter_ring_broadcast, &a::scatter_doubling_broadcast, &a::chain_broadcast,
                          &a::linear_gather, &a::binomial_gather, &a::linear_scatter, &a::binomial_scatter, &a::pairwise_all_to_all,
                          &a::bruck_all_to_all}) {
    costs(*how, {.rank = 1, .size = 4, .count = 0}, {});
    costs(*how, {.rank = 0, .size = 1, .count = 10}, {});
  }
}
