// SPDX-License-Identifier: Apache-2.0

#include "catch.hpp"
#include "counted_allocations.hpp"

// Our own products: oneDNN's takes a packing buffer from the heap in each call (see tests/trainer/test_allocations.cpp).
#undef ENTRAIN_WITH_ONEDNN
#define ENTRAIN_WITH_ONEDNN 0

#include <vector>

#include "batches.hpp"
#include <entrain/nn/cnn.hpp>
#include <entrain/nn/gpt.hpp>

using namespace entrain;

TEST_CASE("nothing is allocated after the first step, also when a smaller batch comes") {
  auto model = nn::gpt{.layers = 2, .heads = 2, .width = 32, .context = 16, .vocabulary = 40, .dropout = 0.1f}.make<float>(engine::host{});
  auto images = nn::cnn{.height = 12, .width = 12}.make<float>(engine::host{});
  const auto large = random_tokens(4, 16, 40), small = random_tokens(2, 9, 40);
  const auto pictures = random_images(3, 144, 10);
  std::vector<float> p(model.layout().size()), q(images.layout().size());
  model.initialise(p, 1);
  images.initialise(q, 1);
  std::vector<float> g(p.size()), h(q.size());
  model.loss_and_gradient(p, large, g);
  images.loss_and_gradient(q, pictures, h);
  test::allocations = 0, test::counting = true;
  model.loss_and_gradient(p, large, g);
  model.loss_and_gradient(p, small, g);
  model.loss(p, small);
  images.loss_and_gradient(q, pictures, h);
  test::counting = false;
  CHECK(test::allocations == 0);
}
