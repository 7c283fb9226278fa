// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/layout.hpp>
#include <entrain/nn/chain.hpp>

// What a network is made of, without any memory of a run: input, layers, head. Immutable once made; a network and the
// stages cut from it share one object. A unit is the input or the head where it has parameters, or a layer that does
// something; a network may be cut between any two.

namespace entrain::nn {

template <class T, class Engine, class Input, class Body, class Head>
struct network_parts {
  using batch_type = typename Input::batch_type;

  Engine engine;
  parameter_layout layout;
  Input input;
  Body body;
  Head head;
  std::vector<std::size_t> leaves;  // of the body, those that do something

  network_parts(const Engine& e, builder&& b, Input i, Body l, Head h)
      : engine(e), layout(std::move(b.layout)), input(std::move(i)), body(std::move(l)), head(std::move(h)), leaves(body.active_leaves()) {
    for (auto& p : input.parameters) p.offset = layout[p.index].offset;
    for (auto& p : head.parameters) p.offset = layout[p.index].offset;
    for (const std::size_t leaf : leaves) body.visit(leaf, [&](auto& layer) { layer.bind(layout); });
    if (leaves.empty()) throw usage_error("nn::network", "a network without layers", "at least one layer that computes", "none");
    if (elements(body.out_shape) != head.in_size)
      throw usage_error("nn::network", "the last layer does not fit the loss", std::to_string(head.in_size) + " outputs",
                        to_string(body.out_shape));
  }

  std::size_t units() const { return Input::is_unit + leaves.size() + Head::is_unit; }
  // Leaves before unit u.
  std::size_t leaf_of(std::size_t u) const {
    const std::size_t before = u < Input::is_unit ? 0 : u - Input::is_unit;
    return before < leaves.size() ? before : leaves.size();
  }
  bool is_input(std::size_t u) const { return Input::is_unit && u == 0; }
  bool is_head(std::size_t u) const { return Head::is_unit && u + 1 == units(); }

  // f(anything with parameters and cost) for unit u.
  template <class F>
  void visit_unit(std::size_t u, F&& f) const {
    if (is_input(u)) f(input);
    else if (is_head(u)) f(head);
    else body.visit(leaves[leaf_of(u)], f);
  }

  std::vector<std::size_t> blocks(std::size_t u) const {
    if (u >= units()) throw usage_error("nn::network", "no such unit", "0 to " + std::to_string(units() - 1), std::to_string(u));
    std::vector<std::size_t> indices;
    visit_unit(u, [&](const auto& part) {
      for (const auto& p : part.parameters) indices.push_back(p.index);
    });
    return indices;
  }
  // Floating-point operations of the forward pass of one sample.
  double cost(std::size_t u) const {
    double operations = 0;
    visit_unit(u, [&](const auto& part) {
      if constexpr (requires { part.cost; }) operations = part.cost;
      else operations = double(part.out_size);
    });
    return operations * double(input.rows_a_sample());
  }
  // Elements a row that cross the border before unit u; none at the ends.
  std::size_t border(std::size_t u) const {
    if (u == 0 || u >= units()) return 0;
    std::size_t size = 0;
    visit_unit(u, [&](const auto& part) {
      if constexpr (requires { part.in_size; }) size = part.in_size;
    });
    return size;
  }
};

}  // namespace entrain::nn
