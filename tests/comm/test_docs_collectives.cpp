// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <entrain/comm/algorithms/swing_all_reduce.hpp>
#include <entrain/comm/background.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/explain.hpp>
#include <entrain/comm/hierarchical.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/reproducible.hpp>
#include <entrain/comm/sparse_all_reduce.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/testing/algorithm_laws.hpp>

#include "holds.hpp"

// The code of docs/collectives.md.

using namespace entrain;

namespace {

//! [algorithm]
// Everybody sends to rank 0, which combines in rank order and sends the result back.
void write_star(comm::schedule::program& s, const comm::problem& c) {
  using comm::schedule::region;
  const std::size_t n = c.count;
  const region mine = region::in(0, n), result = region::out(0, n), arrived = region::scratch(0, n);
  if (c.size == 1) return s.copy(mine, result);
  if (c.rank != 0) {
    s.send(0, mine);
    s.next_round();
    s.receive(0, result);
    return;
  }
  for (int q = 1; q < c.size; ++q) {
    s.receive(q, arrived);
    s.combine(q == 1 ? mine : result, arrived, result);
  }
  for (int q = 1; q < c.size; ++q) s.send(q, result);
}

comm::cost predict_star(const comm::problem& c) {
  const double others = c.count > 0 ? c.size - 1 : 0, n = double(c.count);
  const auto sent = std::uint64_t(c.size == 1 || c.count == 0 ? 0 : c.rank == 0 ? c.size - 1 : 1);
  return {.alphas = 2 * others, .betas = 2 * others * n, .gammas = others * n, .messages = sent, .elements = sent * c.count};
}

constexpr comm::algorithm star_all_reduce{comm::collective::all_reduce, "star", true, write_star, predict_star};
//! [algorithm]

}  // namespace

TEST_CASE("an algorithm of one's own, as in the documentation", "[docs]") {
  //! [check]
  testing::check_algorithm(star_all_reduce);  // right for any number of ranks, never hangs, costs what it says
  //! [check]
  comm::run_ranks(3, [](comm::threads& world) {
    std::vector<double> gradient(10, 1.0);
    //! [use]
    comm::point_to_point_only messages{world};
    messages.use(star_all_reduce);
    comm::all_reduce(messages, gradient);
    //! [use]
    HOLDS(gradient[9] == 3.0);
  });
}

TEST_CASE("what was chosen and why, as in the documentation", "[docs]") {
  comm::run_ranks(4, [](comm::threads& world) {
    comm::point_to_point_only messages{world};
    //! [explain]
    const std::string why = comm::explain(messages, comm::collective::all_reduce, 1 << 20);
    //! [explain]
    HOLDS(why.find("rabenseifner") != std::string::npos);
  });
}

TEST_CASE("overlap, as in the documentation", "[docs]") {
  comm::run_ranks(2, [](comm::threads& world) {
    comm::point_to_point_only messages{world};
    std::vector<float> gradient(1000, 1.0f);
    const auto compute_a_little = [](int) {};
    //! [progress]
    auto request = comm::start_all_reduce(messages, gradient);
    for (int part = 0; part < 10; ++part) {
      compute_a_little(part);
      comm::progress();  // carries on with all that is in flight; never waits
    }
    request.wait();
    //! [progress]
    HOLDS(gradient[0] == 2.0f);
    //! [background]
    comm::background helped{messages};  // a thread of its own carries on
    auto other = comm::start_all_reduce(helped, gradient);
    //! [background]
    other.wait();
    HOLDS(gradient[0] == 4.0f);
  });
}

TEST_CASE("nodes, sparse and reproducible sums, as in the documentation", "[docs]") {
  comm::run_ranks(4, [](comm::threads& world) {
    std::vector<float> gradient(1000, 1.0f);
    //! [nodes]
    comm::hierarchical nodes{world, world.rank() / 2};  // on comm::mpi the node is found: comm::hierarchical nodes{world};
    comm::all_reduce(nodes, gradient);
    //! [nodes]
    HOLDS(gradient[0] == 4.0f);
    //! [sparse]
    comm::sparse_stream<float> stream(1000);
    const std::vector<std::uint32_t> indices{7, std::uint32_t(100 + world.rank())};
    const std::vector<float> values{1.0f, 2.0f};
    stream.append({indices, values});
    comm::sparse_all_reduce(world, stream);  // pairs while they are shorter, the whole vector after that
    //! [sparse]
    HOLDS(stream.count() == 5);
    std::vector<float> two_shards(2000, 0.5f), sum(1000);
    //! [reproducible]
    comm::reproducible_all_reduce(world, two_shards, sum, comm::sum{}, 8);  // 8 shards in all, on 1, 2, 4 or 8 ranks: the same bits
    //! [reproducible]
    HOLDS(sum[0] == 4.0f);
  });
}
