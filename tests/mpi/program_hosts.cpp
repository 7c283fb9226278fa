// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/hierarchical.hpp>
#include <entrain/comm/mpi.hpp>
#include <entrain/comm/mpi/main.hpp>
#include <entrain/comm/mpi/node.hpp>
#include <entrain/comm/tuned.hpp>
#include <entrain/core/error.hpp>
#include <entrain/testing/communicator_laws.hpp>

// Started by test_hosts.sh on two hosts: program_hosts <ranks on the first>. The communicator must find both nodes, obey the laws, and
// send across only what has to cross.

using namespace entrain;

int main(int argc, char** argv) {
  return run_main(argc, argv, [&](comm::mpi& plain) {
    comm::tuned<comm::mpi> world{plain.native_handle()};
    const int first = argc > 1 ? std::atoi(argv[1]) : 0;
    const auto require = [](bool holds, const std::string& what) {
      if (!holds) throw error("program_hosts", what);
    };
    comm::hierarchical nodes{world};
    require(nodes.nodes() == 2, "two nodes, found " + std::to_string(nodes.nodes()));
    require(nodes.inside().size() == (world.rank() < first ? first : world.size() - first), "ranks of a node");

    std::vector<double> x(1000, 1.0);
    const auto before = nodes.across().counters().bytes;
    comm::all_reduce(nodes, x);
    require(x == std::vector<double>(1000, double(world.size())), "sum over both nodes");
    const auto crossed = nodes.across().counters().bytes - before;
    if (2 * first == world.size()) require(crossed == 1000 / std::size_t(first) * sizeof(double), "one piece a rank crosses");

    testing::check_communicator(nodes, {.largest = 257u});
    testing::check_communicator(world, {.largest = 257u});
    if (world.rank() == 0) std::printf("%d ranks on two nodes: all laws hold\n", world.size());
  });
}
