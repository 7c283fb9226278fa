// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <string>
#include <vector>

#include <entrain/comm/algorithms/table.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/simulated.hpp>

// The code of docs/simulation.md.

using namespace entrain;

TEST_CASE("a job on virtual ranks, as in the documentation", "[docs]") {
  //! [simulate]
  const comm::simulation_options cluster{
      .network = comm::network::hierarchical({.ranks_per_node = 8,
                                              .inner = comm::network::wire(5e-7, 100e9),  // seconds, bytes per second
                                              .outer = comm::network::wire(3e-6, 12e9),
                                              .shared_port = true}),  // one network card a node
      .gamma = 2e-11};                                                // seconds to add one byte of a reduction
  const comm::simulation_report report = comm::simulate(256, cluster, [](comm::simulated& world) {
    std::vector<float> gradient(1 << 12, 1.0f);
    world.advance(3e-3);                // what the backward pass would take
    comm::all_reduce(world, gradient);  // the messages of a real run, in virtual time
    if (gradient[0] != 256.0f) throw error("all_reduce", "wrong sum");
  });
  const double seconds = report.finish;
  //! [simulate]
  CHECK(seconds > 3e-3);
  CHECK(seconds < 4e-3);
  CHECK(report.ranks.size() == 256);
}

TEST_CASE("comparing algorithms in virtual time, as in the documentation", "[docs]") {
  //! [compare]
  const auto seconds = [](const comm::algorithm& how, std::size_t count) {
    return comm::simulate(64, {.network = comm::network::uniform(5e-6, 10e9)}, [&](comm::simulated& world) {
             std::vector<float> values(count);
             world.use(how);
             comm::all_reduce(world, values);
           }).finish;
  };
  const bool few_messages_win = seconds(comm::algorithms::recursive_doubling_all_reduce, 64) < seconds(comm::algorithms::ring_all_reduce, 64);
  //! [compare]
  CHECK(few_messages_win);
  CHECK(seconds(comm::algorithms::recursive_doubling_all_reduce, 1 << 19) > seconds(comm::algorithms::ring_all_reduce, 1 << 19));
}

TEST_CASE("a deadlock after a crash, as in the documentation", "[docs]") {
  std::string text;
  //! [crash]
  const comm::simulated_faults faults{.seed = 1,
                                      .delay = {.probability = 0.01, .seconds = 1e-4},  // the mean, where it strikes
                                      .crashes = {{.rank = 1, .at_time = 2.5}}};
  try {
    comm::simulate(3, {.faults = faults}, [](comm::simulated& world) {
      std::vector<float> token(10);
      for (int lap = 0;; ++lap) {
        world.advance(1.0);
        if (world.rank() > 0) comm::receive(world, token, world.rank() - 1, 7);
        if (world.rank() < 2) comm::send(world, token, world.rank() + 1, 7);
      }
    });
  } catch (const comm::deadlock_error& e) {
    text = e.what();  // e.report() holds the same as data
  }
  //! [crash]
  CHECK(text ==
        "comm::simulate: deadlock: at t = 3 s 2 ranks wait and nothing can wake them; rank 1 crashed at t = 2.5 s; "
        "rank 0 waits to send 40 bytes to rank 1, tag 7, since t = 3 s; rank 2 waits to receive 40 bytes from rank 1, tag 7, since t = 3 s");
}
