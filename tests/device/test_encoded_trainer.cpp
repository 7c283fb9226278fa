// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/losses.hpp"
#include "../trainer/models.hpp"
#include "encoded_test.hpp"

// Trainers whose gradients are encoded on the device, and what they remember: the host goes on from it, and the other way round.

using namespace entrain;
using compress::error_feedback;
using test::losses_to;

namespace {

struct outcome {
  std::vector<double> losses;
  std::vector<float> parameters;
  std::string explained;
};

template <class... More>
outcome train(int ranks, const More&... more) {
  outcome out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    std::vector<double> seen;
    trainer run{nn::mlp{.inputs = 6, .hidden = {8, 7}, .outputs = 3}, optim::sgd{.learning_rate = 0.2, .momentum = 0.9}, world, losses_to{&seen}, parallel::data{.bucket_bytes = 200}, more...};
    run.fit(test::clusters{}, {.steps = 8, .batch = 8});
    run.assemble_parameters();
    if (world.rank() == 0) out = {seen, {run.parameters().begin(), run.parameters().end()}, run.explain()};
  });
  return out;
}

// What a checkpoint has, one for all ranks.
struct kept_states {
  std::map<std::string, std::pair<shape, std::vector<double>>> values;

  template <class T>
  void operator()(const std::string& name, std::span<const T> from, const shape& dims) {
    values[name] = {dims, {from.begin(), from.end()}};
  }
  std::vector<std::vector<float>> floats;
  std::vector<std::vector<double>> doubles;
  std::span<const float> keep(std::vector<float>&& v) { return floats.emplace_back(std::move(v)); }
  std::span<const double> keep(std::vector<double>&& v) { return doubles.emplace_back(std::move(v)); }
  bool contains(const std::string& name) const { return values.contains(name); }
  shape shape_of(const std::string& name) const { return values.at(name).first; }
  template <class T>
  void read(const std::string& name, std::span<T> to) const {
    const auto& from = values.at(name).second;
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = T(from[i]);
  }
};

// Steps [first, end) of random gradients; the sum that the last one leaves.
template <class Exchange>
std::vector<float> exchange_steps(Exchange& exchange, const parameter_layout& layout, int rank, std::uint64_t first, std::uint64_t end) {
  test::on_device<float> gradient = test::on_device<float>::zeros(layout.size());
  for (std::uint64_t step = first; step < end; ++step) {
    gradient.set(test::normal_values<float>(layout.size(), std::uint32_t(step * 16 + std::uint64_t(rank))));
    exchange.begin_step({.seed = 3, .step = step, .rank = std::uint32_t(rank), .learning_rate = 0.1 / double(1 + step)});
    for (std::size_t block = layout.blocks().size(); block-- > 0;) exchange.ready(block, view<float, cuda_space>(gradient.data(), gradient.size()));
    exchange.finish(view<float, cuda_space>(gradient.data(), gradient.size()), 10);
  }
  std::vector<float> sums, all = gradient.host();
  for (const auto& b : layout.blocks())
    if (b.kind != block_kind::statistic) sums.insert(sums.end(), all.begin() + std::ptrdiff_t(b.offset), all.begin() + std::ptrdiff_t(b.offset + b.count));
  return sums;
}

template <class C>
using on_device = parallel::encoded_exchange<float, float, engine::cuda_queue, comm::threads, C>;
template <class C>
using staged = parallel::staged_exchange<float, float, engine::cuda_queue, comm::threads, C>;

// Three steps by one exchange, two by another that has loaded what the first has saved.
template <class First, class Second, class C, class D>
std::pair<std::vector<float>, kept_states> hand_over(int ranks, const C& c, const D& d) {
  std::pair<std::vector<float>, kept_states> out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    const auto engine = engine::cuda{}.start();
    const parameter_layout layout = test::some_blocks();
    First one(layout, engine, world, c, 3000, false);
    exchange_steps(one, layout, world.rank(), 0, 3);
    kept_states unused;
    one.save(world.rank() == 0 ? out.second : unused);
    comm::barrier(world);
    Second other(layout, engine, world, d, 3000, false);
    other.load(out.second);
    const auto last = exchange_steps(other, layout, world.rank(), 3, 5);
    if (world.rank() == 0) out.first = last;
  });
  return out;
}

template <class C>
void check_states(const C& c) {
  const auto other = test::on_host(c);
  using D = std::remove_const_t<decltype(other)>;
  for (const int ranks : {1, 3}) {
    CAPTURE(entrain::describe(c), ranks);
    const auto expected = hand_over<staged<D>, staged<D>>(ranks, other, other), device = hand_over<on_device<C>, on_device<C>>(ranks, c, c);
    CHECK(expected.second.values.contains("compression.a.residual"));
    CHECK(expected.second.values.size() == 6);
    const bool same_states = device.second.values == expected.second.values, same_sums = device.first == expected.first;
    const bool host_goes_on = hand_over<on_device<C>, staged<D>>(ranks, c, other).first == expected.first, device_goes_on = hand_over<staged<D>, on_device<C>>(ranks, other, c).first == expected.first;
    CHECK(same_states);
    CHECK(same_sums);
    CHECK(host_goes_on);
    CHECK(device_goes_on);
  }
}

}  // namespace

TEST_CASE("what is left out is remembered as the host remembers it", "[device][compress]") {
  check_states(error_feedback{compress::sign{}, true});
  check_states(error_feedback{compress::dragonn{.ratio = 0.05}});
}

TEST_CASE("trainers encode on the device by themselves, and learn what the host learns", "[device][compress]") {
  const auto check = [](int ranks, const auto& c, double tolerance) {
    CAPTURE(ranks, entrain::describe(c));
    const auto found = train(ranks, c, engine::cuda{}), expected = train(ranks, test::on_host(c), engine::cuda{}), host = train(ranks, c);
    CHECK(found.losses == expected.losses);
    CHECK(found.parameters == expected.parameters);
    CHECK(test::distance(found.losses, host.losses) <= tolerance);
    CHECK_THAT(found.explained, Catch::Contains("encoded on the device"));
    CHECK_THAT(expected.explained, !Catch::Contains("encoded on the device"));
  };
  check(2, error_feedback{compress::sign{}}, 1e-3);
  check(3, compress::cast<bfloat16>{}, 1e-2);
}

TEST_CASE("in mixed precision gradients are encoded in the kept type", "[device][compress]") {
  const error_feedback c{compress::top_k{.ratio = 0.2}};
  const auto found = train(2, c, engine::cuda{}, precision::bf16_mixed{}), expected = train(2, test::on_host(c), engine::cuda{}, precision::bf16_mixed{});
  CHECK(found.losses == expected.losses);
  CHECK(found.parameters == expected.parameters);
}
