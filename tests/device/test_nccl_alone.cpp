// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/comm/nccl.hpp>
#include <entrain/comm/self.hpp>

#include "device_test.hpp"

// One rank of comm::nccl: what a machine with one GPU can run of the real library. (More ranks: test_nccl.cpp, emulated, and
// bench/device/nccl_one_gpu.cu.)

using namespace entrain;

namespace {

template <class T>
view<T, cuda_space> at(const test::on_device<T>& x) { return {x.data(), x.size()}; }

template <class World>
void check(World& world, const engine::cuda_queue& engine) {
  const std::size_t n = 100001;
  const auto values = test::normal_values<float>(n);
  const test::on_device<float> in(values);
  const auto same_as_input = [&](auto&& run) {
    auto out = test::on_device<float>::poisoned(n);
    run(out);
    CHECK(out.host() == values);
  };
  same_as_input([&](auto& out) { comm::all_reduce(world, at(in), at(out)); });
  same_as_input([&](auto& out) { comm::reduce(world, at(in), at(out), comm::maximum{}); });
  same_as_input([&](auto& out) { comm::reduce_scatter(world, at(in), at(out), comm::product{}); });
  same_as_input([&](auto& out) { comm::all_gather(world, at(in), at(out)); });
  same_as_input([&](auto& out) { comm::all_to_all(world, at(in), at(out)); });
  const std::vector<std::size_t> whole{n};
  same_as_input([&](auto& out) { comm::gather(world, at(in), at(out)); });
  same_as_input([&](auto& out) { comm::scatter(world, at(in), at(out)); });
  same_as_input([&](auto& out) { comm::all_gather_v(world, at(in), at(out), whole); });
  same_as_input([&](auto& out) { comm::all_to_all_v(world, at(in), whole, at(out), whole); });
  same_as_input([&](auto& out) { comm::send_receive(world, at(in), 0, at(out), 0); });
  same_as_input([&](auto& out) {
    engine.copy(in.data(), out.data(), n);  // what the engine has been given comes first
    comm::broadcast(world, at(out));
  });
  same_as_input([&](auto& out) {
    auto middle = test::on_device<float>::poisoned(n);
    auto together = world.batch();
    auto first = comm::start_all_reduce(world, at(in), at(middle)), second = comm::start_all_reduce(world, at(in), at(out), comm::minimum{});
    together.launch();
    world.hold(engine);
    engine.copy(middle.data(), out.data(), n);  // and what it is given afterwards comes later
    engine.wait();
    first.wait(), second.wait();
  });
}

}  // namespace

TEST_CASE("one rank of comm::nccl leaves everything as it is, and its part does", "[nccl]") {
  const auto engine = engine::cuda{}.start();
  comm::self host;
  comm::nccl world{host, engine, {.deadline = std::chrono::seconds(60)}};
  check(world, engine);
  auto part = world.split(3, 0);
  check(part, engine);
  CHECK(world.counters().collectives > 0);
}

TEST_CASE("one rank by hand", "[nccl]") {
  const auto engine = engine::cuda{}.start();
  const auto path = std::filesystem::temp_directory_path() / ("entrain_nccl_alone_" + std::to_string(::getpid()));
  comm::nccl_ranks job{0, 1};
  comm::nccl world{job, engine, comm::nccl_id_from_file(path, 0, std::chrono::seconds(1)), {.deadline = std::chrono::seconds(60)}};
  check(world, engine);
  std::filesystem::remove(path);
}

TEST_CASE("one rank by address", "[nccl]") {
  const auto engine = engine::cuda{}.start();
  const comm::job_address job{.port = 0};
  comm::nccl_ranks alone{job.rank, job.size};
  comm::nccl world{alone, engine, comm::nccl_id_over_tcp(job, std::chrono::seconds(1)), {.deadline = std::chrono::seconds(60)}};
  check(world, engine);
}

TEST_CASE("a rank that never comes is given up at the deadline", "[nccl]") {
  comm::nccl_ranks job{0, 2};
  CHECK_THROWS_AS((comm::nccl{job, 0, comm::make_nccl_id(), {.deadline = std::chrono::seconds(2)}}), communication_error);
}
