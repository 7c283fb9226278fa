// SPDX-License-Identifier: Apache-2.0

#include <cstdlib>
#include <new>
#include <vector>

#include "batches.hpp"
#include "catch.hpp"
#include <entrain/nn/cnn.hpp>
#include <entrain/nn/gpt.hpp>

using namespace entrain;

// ---- counts allocations, for the test that a step makes none -------------------------------------------------------------
namespace {
std::size_t allocations = 0;
}
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes > 0 ? bytes : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

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
  const std::size_t before = allocations;
  model.loss_and_gradient(p, large, g);
  model.loss_and_gradient(p, small, g);
  model.loss(p, small);
  images.loss_and_gradient(q, pictures, h);
  CHECK(allocations == before);
}
