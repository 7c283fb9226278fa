// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/trainer/trainer.hpp>

#include "../trainer/models.hpp"
#include "device_test.hpp"

// What tests of parallel/encoded_exchange.hpp share: trainers whose gradients the host encodes, to compare with.

namespace entrain::test {

// A compressor under another name, for which there are no kernels.
template <class C>
struct host_only {
  using slot_type = slot::compression;
  static constexpr auto payload = C::payload;
  static constexpr bool positional = compress::is_positional<C>, variable = compress::is_variable<C>, ascending = compress::is_ascending<C>, unbiased = compress::is_unbiased<C>;
  template <class T>
  using wire_type = compress::wire_of<C, T>;
  C named;

  constexpr explicit host_only(C c) : named(c) {}
  template <class T>
  std::size_t wire_count(const compress::block& b) const { return named.template wire_count<T>(b); }
  template <class T>
  auto make_state(const compress::block& b) const { return named.template make_state<T>(b); }
  template <class S, class T, class Wire>
  auto encode(S& s, const compress::context& where, std::span<T> values, std::span<Wire> wire) const { return named.encode(s, where, values, wire); }
  template <class T, class Wire>
  void decode_add(const compress::context& where, std::span<const Wire> wire, std::span<T> values, T scale) const { named.decode_add(where, wire, values, scale); }
  std::string describe() const { return "host_only{" + entrain::describe(named) + "}"; }
  friend bool operator==(const host_only&, const host_only&) = default;
};
template <class C>
auto on_host(const C& c) { return host_only<C>(c); }
template <class C>
auto on_host(const compress::error_feedback<C>& c) { return compress::error_feedback(host_only<C>(c.inner), c.rescale); }

struct losses_to {
  using slot_type = slot::monitor;
  std::vector<double>* to;
  void step(const monitor::step_event& e) { to->push_back(e.loss); }
};

struct outcome {
  std::vector<double> losses;
  std::vector<float> parameters;
  std::string explained;
  std::uint64_t planned = 0, counted = 0;
};

inline const nn::mlp perceptron{.inputs = 6, .hidden = {40, 9}, .outputs = 3};
inline constexpr std::uint64_t steps = 5;

template <class World, class Compressor, class... More>
outcome train_on(World& world, const Compressor& compressor, const More&... more) {
  outcome out;
  trainer run{perceptron, compressor, world, losses_to{&out.losses}, more...};
  const auto before = world.counters().bytes;
  run.fit(clusters{}, {.steps = steps, .batch = 12, .resume = true});
  out.counted = world.counters().bytes - before, out.planned = steps * parallel::bytes_sent(run.plan(12));
  out.explained = run.explain();
  run.assemble_parameters();
  out.parameters.assign(run.parameters().begin(), run.parameters().end());
  return out;
}
template <class... Arguments>
outcome train(int ranks, const Arguments&... arguments) {
  outcome out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    auto mine = train_on(world, arguments...);
    if (world.rank() == 0) out = std::move(mine);
  });
  return out;
}

// Encoded on the device, and on the host: the same parameters after some steps.
template <class Compressor, class... More>
void check_as_staged(int ranks, const Compressor& c, const More&... more) {
  CAPTURE(ranks, entrain::describe(c));
  const optim::scheduled optimizer{optim::sgd{.learning_rate = 0.2}, optim::schedule::cosine{.steps = 2 * steps}};  // a rate that changes, for rescaled residuals
  const parallel::data form{.bucket_bytes = 300};
  const auto found = train(ranks, c, optimizer, form, engine::cuda{}, more...), expected = train(ranks, on_host(c), optimizer, form, engine::cuda{}, more...);
  REQUIRE(found.losses.size() == steps);
  CHECK(found.losses == expected.losses);
  CHECK(found.parameters == expected.parameters);
  CHECK(found.planned == expected.planned);
  CHECK(found.counted == expected.counted);
  CHECK_THAT(found.explained, Catch::Contains("encoded on the device"));
  CHECK_THAT(expected.explained, !Catch::Contains("encoded on the device"));
}

}  // namespace entrain::test
