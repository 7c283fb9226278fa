// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include <entrain/core/describe.hpp>
#include <entrain/nn/chain.hpp>
#include <entrain/nn/reference.hpp>

// out = in + layer(in) (He, Zhang, Ren, Sun, "Deep residual learning", 2016). The layer must keep the shape. Blocks get no
// further prefix: residual{sequential{named{"fc", linear{...}}}} names "fc.weight".

namespace entrain::nn {

template <class T, class Inner>
class residual_layer : public layer_base {
 public:
  static constexpr bool composite = true;

  residual_layer(shape in, Inner inner) : layer_base(in, in), inner_(std::move(inner)), plan_(inner_.plan()) {
    if (inner_.out_shape != in_shape)
      throw usage_error("nn::residual", "the layer changes the shape of its input", to_string(in_shape), to_string(inner_.out_shape));
    if (plan_.steps.empty()) throw usage_error("nn::residual", "the layer does nothing", "at least one layer that computes", "none");
    kept_output_ = plan_.saved;
    saved = plan_.saved + (plan_.needs_output ? detail::padded(out_size) : 0);
    stash = plan_.stash, scratch = plan_.scratch, workspace = plan_.workspace;
    cost = plan_.cost + double(out_size);
    sum_last = true, norm_first = plan_.norm_first;
    for (const auto& step : plan_.steps)
      inner_.visit(step.leaf,
                   [&](const auto& layer) { parameters.insert(parameters.end(), layer.parameters.begin(), layer.parameters.end()); });
  }

  void bind(const parameter_layout& layout) {
    layer_base::bind(layout);
    for (const auto& step : plan_.steps) inner_.visit(step.leaf, [&](auto& layer) { layer.bind(layout); });
  }
  template <class U>
  void initialise(U* p, std::uint64_t seed) const {
    for (const auto& step : plan_.steps) inner_.visit(step.leaf, [&](const auto& layer) { layer.initialise(p, seed); });
  }

  template <class Call>
  void forward(const Call& c, const T* p, const T* in, T* out, T* memory) const {
    add(c, in, forward_branch(c, p, arriving_sum<T>{in}, out, memory), out);
  }
  template <class Call>
  void forward(const Call& c, const T* p, const arriving_sum<T>& in, T* out, T* memory) const {
    add(c, in.sum, forward_branch(c, p, in, out, memory), out);
  }
  // All but the sum that ends it: returns the branch, which may lie in `out`.
  template <class Call>
  const T* forward_branch(const Call& c, const T* p, const arriving_sum<T>& in, T* out, T* memory) const {
    T* branch = plan_.needs_output ? memory + kept_output_ * c.rows : out;
    inner_.forward(c, plan_, p, in, branch, memory);
    return branch;
  }
  template <class Call>
  void backward(const Call& c, const T* p, const kept<T>& k, const T* dout, T* din, T* g, const ready_reference& ready) const {
    inner_.backward(c, plan_, p, inside(k, c.rows), dout, din, g, ready, dout);
  }
  template <class Call>
  void backward_input(const Call& c, const T* p, const kept<T>& k, const T* dout, T* din) const {
    inner_.backward_input(c, plan_, p, inside(k, c.rows), dout, din, dout);
  }
  template <class Call>
  void backward_parameters(const Call& c, const T* p, const kept<T>& k, const T* dout, T* g) const {
    inner_.backward_parameters(c, plan_, p, inside(k, c.rows), dout, g);
  }

 private:
  kept<T> inside(const kept<T>& k, std::size_t rows) const { return {k.in, k.saved + kept_output_ * rows, k.saved, k.stash}; }
  template <class Call>
  void add(const Call& c, const T* a, const T* b, T* to) const {
    op::do_run(c.engine, ops::add{c.rows * out_size}, a, b, to);
  }

  Inner inner_;
  chain_plan plan_;
  std::size_t kept_output_ = 0;
};

template <class Layer>
struct residual {
  Layer layer;
  explicit residual(Layer l) : layer(std::move(l)) {}

  template <class T>
  auto make(builder& b, shape in, const std::string& prefix) const {
    auto inner = layer.template make<T>(b, in, prefix);
    if constexpr (detail::is_chain<decltype(inner)>) return residual_layer<T, decltype(inner)>(std::move(in), std::move(inner));
    else {
      using alone = chain<T, decltype(inner)>;
      return residual_layer<T, alone>(std::move(in), alone(std::move(inner)));
    }
  }
  std::string describe() const { return "residual{" + entrain::describe(layer) + "}"; }
  friend bool operator==(const residual&, const residual&) = default;
};

}  // namespace entrain::nn
