// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <vector>

#include <entrain/nn/activation.hpp>
#include <entrain/nn/dropout.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/layer_norm.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/residual.hpp>
#include <entrain/nn/sequential.hpp>

// A chain runs some neighbours together (chain_plan::step::gelu_next, gelu_before, sum_next). On the host that changes no bit: it is held
// here against the same chain whose plan does not say so, whole and in two halves.

using namespace entrain;

namespace {

template <class T>
std::vector<T> values(std::size_t n, std::uint32_t stream) {
  const random_stream random(3, purpose::user, stream);
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = T(random.normal(i));
  return out;
}

template <class T>
struct results {
  std::vector<T> y, dx, g;
  std::vector<std::size_t> ready;
  friend bool operator==(const results&, const results&) = default;
};

struct flags {
  int gelu_next = 0, gelu_before = 0, sum_next = 0;
  friend bool operator==(const flags&, const flags&) = default;
};

template <class T, class Engine, class Description>
void check(const Description& description, flags expected, std::size_t width = 19) {
  CAPTURE(Engine::name, sizeof(T), describe(description));
  nn::builder b;
  auto layers = description.template make<T>(b, shape{width}, "");
  for (std::size_t i = 0; i < layers.leaf_count(); ++i) layers.visit(i, [&](auto& leaf) { leaf.bind(b.layout); });
  const auto p = values<T>(b.layout.size(), 1);
  const std::size_t rows = 5;

  const auto run = [&](const nn::chain_plan& plan, bool halves) {
    const auto x = values<T>(rows * plan.in_size, 2), dy = values<T>(rows * plan.out_size, 3);
    std::vector<T> y(dy.size()), saved(plan.saved * rows), stash(plan.stash * rows), scratch(plan.scratch * rows), workspace(plan.workspace);
    results<T> out{{}, std::vector<T>(x.size()), std::vector<T>(p.size(), T(5)), {}};
    const Engine engine{};
    const nn::pass how{.seed = 4, .step = 2};
    const nn::call<T, Engine> c{engine, how, rows, 0, false, scratch.data(), workspace.data()};
    layers.forward(c, plan, p.data(), x.data(), y.data(), saved.data());
    const nn::kept<T> kept{x.data(), y.data(), saved.data(), stash.data()};
    if (halves) {
      layers.backward_input(c, plan, p.data(), kept, dy.data(), out.dx.data());
      layers.backward_parameters(c, plan, p.data(), kept, dy.data(), out.g.data());
    } else {
      layers.backward(c, plan, p.data(), kept, dy.data(), out.dx.data(), out.g.data(), [&](std::size_t block) { out.ready.push_back(block); });
    }
    out.y = y;
    return out;
  };
  const auto together = layers.plan();
  auto apart = together;
  flags found;
  for (auto& s : apart.steps) {
    found.gelu_next += s.gelu_next, found.gelu_before += s.gelu_before, found.sum_next += s.sum_next;
    s.gelu_next = s.gelu_before = s.sum_next = false;
  }
  CHECK(found == expected);
  const auto one = run(together, false), other = run(apart, false);
  CHECK(one == other);
  auto halves = run(together, true);
  halves.ready = one.ready;
  CHECK(halves == one);
}

template <class T, class Engine>
void check_all() {
  using namespace nn;
  check<T, Engine>(sequential{linear{13}, gelu, linear{7}}, {1, 1, 0});
  check<T, Engine>(sequential{linear{13, false}, gelu, linear{7}}, {0, 1, 0});  // only a layer with a bias takes it in
  check<T, Engine>(sequential{linear{13}, relu, linear{7}}, {0, 0, 0});
  check<T, Engine>(sequential{gelu, linear{7}, gelu}, {1, 1, 0});  // at the ends
  check<T, Engine>(sequential{linear{13}, gelu, dropout{0.5f}, linear{7}}, {1, 0, 0});
  const residual first{sequential{layer_norm{}, linear{19}}};
  const residual second{sequential{layer_norm{}, linear{40}, gelu, linear{19}}};
  check<T, Engine>(sequential{first, second, layer_norm{}}, {0, 0, 2});
  check<T, Engine>(sequential{first, linear{19}, second}, {0, 0, 0});
  check<T, Engine>(sequential{residual{layer_norm{}}, repeat{3, sequential{first, second}}}, {0, 0, 6});
  check<T, Engine>(sequential{first, residual{first}, layer_norm{}}, {0, 0, 2});                // a branch that is a residual itself
  check<T, Engine>(sequential{residual{sequential{gelu, linear{19}}}, first}, {0, 0, 1});       // a branch that begins with what the product takes in
  check<T, Engine>(sequential{residual{sequential{layer_norm{}, gelu}}, first, dropout{0.5f}}, {0, 0, 1});  // a branch whose output is kept
}

}  // namespace

TEST_CASE("neighbours that run together give what they give apart") {
  check_all<float, engine::host>();
  check_all<double, engine::host>();
  check_all<float, engine::reference>();
}
