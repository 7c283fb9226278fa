// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <entrain/device/nn/embedding.cuh>
#include <entrain/device/nn/layer_norm.cuh>
#include <entrain/device/nn/softmax_cross_entropy.cuh>
#include <entrain/device/nn/squared_error.cuh>

#include "device_test.hpp"

// Operations that need the engine's workspace refuse a stream that has none, instead of sharing it with the one that has.

using namespace entrain;
using test::on_device;

TEST_CASE("operations that need the workspace say so on a stream without it", "[device]") {
  using Catch::Contains;
  const auto sentence = Contains("it needs the engine's workspace, which only the engine's own stream has");
  const engine::cuda_queue queue = engine::cuda{}.start(), other = queue.beside();
  CHECK(other.workspace().empty());
  const on_device<float> x(std::vector<float>(64)), y(std::vector<float>(64)), z(std::vector<float>(64));
  const on_device<std::int32_t> ids(std::vector<std::int32_t>(4));
  const auto constant = [](const on_device<float>& of) { return static_cast<const float*>(of.data()); };

  CHECK_THROWS_WITH(backward(other, nn::ops::embedding{4, 8, 8}, ids.data(), constant(x), y.data()), sentence && Contains("backward of embedding"));
  CHECK_THROWS_WITH(backward_parameters(other, nn::ops::layer_norm{.rows = 4, .width = 8}, constant(x), constant(y), constant(y), constant(x), y.data(), z.data()),
                    sentence && Contains("backward_parameters of layer_norm"));
  CHECK_THROWS_WITH(forward(other, nn::ops::squared_error{.rows = 4, .width = 8}, constant(x), constant(y)), sentence && Contains("a loss on the device"));
  CHECK_THROWS_WITH(device::workspace_for(queue, "something", std::size_t(1) << 40), Contains("do not fit the engine's workspace"));
  // On the engine's own stream they run.
  backward(queue, nn::ops::embedding{4, 8, 8}, ids.data(), constant(x), y.data());
  backward_parameters(queue, nn::ops::layer_norm{.rows = 4, .width = 8}, constant(x), constant(y), constant(y), constant(x), y.data(), z.data());
  CHECK(z.host()[0] == 0.0f);
}
