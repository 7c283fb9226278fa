// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <entrain/compress/cast.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/cnn.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/parallel/reproducible.hpp>
#include <entrain/parallel/sharded.hpp>

#include "trainers.hpp"

// Passes on the device, exchange and optimizer on the host (parallel/offloaded.hpp): what parallel::sharded, parallel::reproducible and
// optimizers that own their communication do there, against the same on the host.

using namespace entrain;

namespace {

const nn::gpt text{.layers = 1, .heads = 2, .width = 16, .context = 12, .vocabulary = 23};
const optim::sgd steps{.learning_rate = 0.2, .momentum = 0.9};

// Of a user who has written no kernel: steps of one length along the gradient's signs.
struct by_sign {
  using slot_type = slot::optimizer;
  static constexpr std::array<std::string_view, 0> fields{};
  static constexpr bool elementwise = true;
  double learning_rate = 0.01;
  double learning_rate_at(std::uint64_t) const { return learning_rate; }
  template <class T>
  void update(const optim::update_context& c, T* x, const T* gradient, std::array<T*, 0>, std::size_t n) const {
    for (std::size_t i = 0; i < n; ++i) x[i] -= T(c.learning_rate) * T((gradient[i] > 0) - (gradient[i] < 0));
  }
};

}  // namespace

TEST_CASE("sharded state on 1 to 4 ranks", "[device]") {
  for (const int ranks : {1, 2, 3, 4}) {
    CAPTURE(ranks);
    const auto expected = test::train(ranks, text, test::sequences{}, 4, 8, steps, parallel::sharded{});
    test::check_same(test::train(ranks, text, test::sequences{}, 4, 8, steps, engine::cuda{}, parallel::sharded{}), expected, 1e-5);
  }
  const parallel::sharded in_parts{.bucket_bytes = 2000, .accumulate = 2};
  const auto clipped = optim::clipped{steps, 0.05};
  test::check_same(test::train(2, text, test::sequences{}, 4, 8, clipped, engine::cuda{}, in_parts, compress::cast<bfloat16>{}),
                   test::train(2, text, test::sequences{}, 4, 8, clipped, in_parts, compress::cast<bfloat16>{}), 1e-3);
}

TEST_CASE("in mixed precision the host keeps more bits", "[device]") {
  const auto plain = test::train(2, text, test::sequences{}, 8, 8, optim::adamw{.learning_rate = 0.01}, parallel::sharded{});
  const auto mixed = test::train(2, text, test::sequences{}, 8, 8, optim::adamw{.learning_rate = 0.01}, engine::cuda{}, precision::bf16_mixed{}, parallel::sharded{});
  CHECK(test::distance(mixed.losses, plain.losses) <= 2e-2);
  CHECK(mixed.losses.back() < mixed.losses.front());
  bool beyond = false;  // what 16 bits cannot hold
  for (const float x : mixed.parameters) beyond = beyond || float(bfloat16(x)) != x;
  CHECK(beyond);
  comm::self world;
  CHECK_THROWS_WITH((trainer{text, optim::adamw{}, world, engine::cuda{}, precision::bf16_mixed{.stochastic_rounding = true}, parallel::sharded{}}), Catch::Contains("rounded to nearest"));
}

TEST_CASE("the same bits on any number of ranks", "[device]") {
  const parallel::reproducible form{.shards = 4};
  const auto alone = test::train(1, text, test::sequences{}, 3, 8, steps, engine::cuda{}, form);
  for (const int ranks : {2, 4}) {
    const auto found = test::train(ranks, text, test::sequences{}, 3, 8, steps, engine::cuda{}, form);
    CHECK(found.parameters == alone.parameters);
    CHECK(test::distance(found.losses, alone.losses) <= 1e-12);
  }
}

TEST_CASE("an optimizer that owns its communication, and another model", "[device]") {
  const optim::zero_one_adam own{.learning_rate = 0.01};
  for (const int ranks : {1, 3})
    test::check_same(test::train(ranks, text, test::sequences{}, 6, 6, own, engine::cuda{}), test::train(ranks, text, test::sequences{}, 6, 6, own), 1e-3);
  const nn::cnn picture{.height = 8, .width = 8, .filters = {2}, .kernel = 3, .hidden = 8, .classes = 4};
  test::check_same(test::train(2, picture, test::pictures{}, 4, 8, steps, engine::cuda{}, parallel::sharded{}), test::train(2, picture, test::pictures{}, 4, 8, steps, parallel::sharded{}), 1e-4);
}

TEST_CASE("an optimizer without kernels", "[device]") {
  const parallel::data in_parts{.bucket_bytes = 1000, .accumulate = 2};
  for (const int ranks : {1, 2}) {
    const auto found = test::train(ranks, text, test::sequences{}, 6, 8, by_sign{}, engine::cuda{}, in_parts), expected = test::train(ranks, text, test::sequences{}, 6, 8, by_sign{}, in_parts);
    CHECK(test::distance(found.losses, expected.losses) <= 1e-3);  // a sign may turn where a gradient is nearly zero
    CHECK(found.losses.back() < found.losses.front());
  }
}
