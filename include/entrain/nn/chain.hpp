// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/nn/layer.hpp>

// Layers one after another. A chain holds its parts in a tuple and sees through nested chains and repetitions to the
// single layers, its leaves, which it can run from any one to any other: a sequential layer runs all of them, a pipeline
// stage its share (nn/stage.hpp), and both are the same code.
//
// A chain_plan says for a range of leaves where each one's output, memory and gradient lie. Layers that do nothing are left
// out of it, layers that can work in place do, and neighbours that share what they read and write are run together: a linear layer with
// the GELU on either side of it, the sum that ends a residual with the norm that begins what follows.

namespace entrain::nn {

// ready(block) without a template parameter, so that the backward pass of a model is compiled once and not once a caller.
class ready_reference {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, ready_reference>)
  ready_reference(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, std::size_t block) { (*static_cast<std::remove_reference_t<F>*>(object))(block); }) {}
  void operator()(std::size_t block) const { call_(object_, block); }

 private:
  void* object_;
  void (*call_)(void*, std::size_t);
};

struct chain_plan {
  static constexpr std::size_t outside = std::size_t(-1);  // the caller's memory
  struct step {
    std::size_t leaf = 0, in_size = 0, out_size = 0;
    std::size_t output = outside, saved = 0, stash = 0;
    std::size_t gradient = outside;  // of the input, in the stash
    bool passes_gradient = false;
    bool gelu_next = false;    // a linear layer: the next step, its GELU, is computed with it
    bool gelu_before = false;  // a linear layer: the gradient that it passes on is that of the GELU's input
    bool sum_next = false;     // a residual layer: the next step, which begins with a norm, takes its sum
  };
  std::vector<step> steps;
  std::size_t in_size = 0, out_size = 0;
  std::size_t saved = 0, stash = 0, scratch = 0, workspace = 0;  // as in layer_base
  std::size_t gradient_buffer = 0;                               // each of two that take turns
  double cost = 0;
  bool needs_output = false;
  bool norm_first = false;  // as in layer_base
};

template <class Part>
struct repeated {
  static constexpr bool is_repeated = true;
  std::deque<Part> parts;  // grows without moving its parts, which would cost much code
  shape out_shape;
};

namespace detail {

template <class L>
concept is_repeated = requires { L::is_repeated; };
template <class L>
concept is_chain = requires { L::is_chain; };

template <class L>
std::size_t leaf_count(const L& part) {
  if constexpr (is_repeated<L>) return part.parts.empty() ? 0 : part.parts.size() * leaf_count(part.parts.front());
  else if constexpr (is_chain<L>) return part.leaf_count();
  else return 1;
}

template <class L, class F>
void visit_leaf(L& part, std::size_t i, F& f) {
  using layer = std::remove_const_t<L>;
  if constexpr (is_repeated<layer>) {
    const std::size_t each = leaf_count(part.parts.front());
    visit_leaf(part.parts[i / each], i % each, f);
  } else if constexpr (is_chain<layer>) part.visit(i, f);
  else f(part);
}

}  // namespace detail

template <class T, class... Parts>
class chain {
 public:
  static constexpr bool is_chain = true;
  using value_type = T;

  explicit chain(Parts... parts) : out_shape(std::get<sizeof...(Parts) - 1>(std::tie(parts...)).out_shape), parts_(std::move(parts)...) {}

  explicit chain(std::tuple<Parts...>&& parts) : out_shape(std::get<sizeof...(Parts) - 1>(parts).out_shape), parts_(std::move(parts)) {}

  shape out_shape;

  std::size_t leaf_count() const {
    return std::apply([](const auto&... part) { return (detail::leaf_count(part) + ...); }, parts_);
  }
  // f(layer) for the i-th leaf.
  template <class F>
  void visit(std::size_t i, F&& f) const {
    visit_from<0>(*this, i, f);
  }
  template <class F>
  void visit(std::size_t i, F&& f) {
    visit_from<0>(*this, i, f);
  }

  // The leaves that do something.
  std::vector<std::size_t> active_leaves() const {
    std::vector<std::size_t> active;
    for (std::size_t i = 0; i < leaf_count(); ++i)
      visit(i, [&](const auto& layer) {
        if (!layer.identity) active.push_back(i);
      });
    return active;
  }

  chain_plan plan(const std::vector<std::size_t>& leaves) const;
  chain_plan plan() const { return plan(active_leaves()); }

  template <class Call>
  void forward(const Call& c, const chain_plan& plan, const T* p, const T* in, T* out, T* saved) const {
    forward(c, plan, p, arriving_sum<T>{in}, out, saved);
  }
  // Where the first layer begins with a norm the input may be a sum; in.b is null where it is none.
  template <class Call>
  void forward(const Call& c, const chain_plan& plan, const T* p, arriving_sum<T> in, T* out, T* saved) const;
  // The whole backward pass: a layer's parameters first, so that their exchange starts, then its input. din may be null; `also` is added to it.
  template <class Call>
  void backward(const Call& c, const chain_plan& plan, const T* p, const kept<T>& k, const T* dout, T* din, T* g,
                const ready_reference& ready, const T* also = nullptr) const;
  // The two halves. dout must be the same memory in both.
  template <class Call>
  void backward_input(const Call& c, const chain_plan& plan, const T* p, const kept<T>& k, const T* dout, T* din, const T* also = nullptr) const;
  template <class Call>
  void backward_parameters(const Call& c, const chain_plan& plan, const T* p, const kept<T>& k, const T* dout, T* g) const;

 private:
  template <std::size_t I, class Self, class F>
  static void visit_from(Self& self, std::size_t i, F& f) {
    if constexpr (I < sizeof...(Parts)) {
      auto& part = std::get<I>(self.parts_);
      const std::size_t leaves = detail::leaf_count(part);
      if (i < leaves) detail::visit_leaf(part, i, f);
      else visit_from<I + 1>(self, i - leaves, f);
    }
  }

  // din of a single layer, `also` added: where the layer does both at once, so does this.
  template <class Call, class L>
  static void input_gradient(const Call& c, const L& layer, const T* p, const kept<T>& k, const T* dout, const T* also, T* din) {
    if constexpr (requires { layer.backward_input_sum(c, p, k, dout, also, din); })
      if (also && din) return layer.backward_input_sum(c, p, k, dout, also, din);
    layer.backward_input(c, p, k, dout, din);
    add(c, layer.in_size, also, din);
  }
  template <class Call>
  static void add(const Call& c, std::size_t size, const T* also, T* din) {
    if (also && din) op::do_run(c.engine, ops::add{c.rows * size}, static_cast<const T*>(din), also, din);
  }
  // What step i of a plan kept.
  static kept<T> kept_by(const chain_plan& plan, std::size_t i, const kept<T>& k, std::size_t rows) {
    const auto& s = plan.steps[i];
    const auto output = [&](std::size_t j) -> const T* {
      const std::size_t at = plan.steps[j].output;
      return at == chain_plan::outside ? k.out : k.saved + at * rows;
    };
    return {i == 0 ? k.in : output(i - 1), output(i), k.saved + s.saved * rows, k.stash ? k.stash + s.stash * rows : nullptr};
  }
  // Where the split backward pass has the gradient of step i's output.
  static const T* stashed_gradient(const chain_plan& plan, std::size_t i, const kept<T>& k, const T* dout, std::size_t rows) {
    std::size_t next = i + 1;
    while (next < plan.steps.size() && plan.steps[next].passes_gradient) ++next;
    return next == plan.steps.size() ? dout : k.stash + plan.steps[next].gradient * rows;
  }

  std::tuple<Parts...> parts_;
};

template <class T, class... Parts>
chain_plan chain<T, Parts...>::plan(const std::vector<std::size_t>& leaves) const {
  chain_plan result;
  std::size_t inner_scratch = 0;
  bool in_place = false;  // the next step writes over this one's output
  bool before_gelu = false, before_norm = false, before_affine = false;
  auto& steps = result.steps;
  steps.resize(leaves.size());
  for (std::size_t i = leaves.size(); i-- > 0;)
    visit(leaves[i], [&](const auto& layer) {
      auto& s = steps[i];
      s.leaf = leaves[i], s.in_size = layer.in_size, s.out_size = layer.out_size, s.passes_gradient = layer.passes_gradient;
      if (i + 1 == leaves.size()) result.needs_output = layer.needs_output;
      else if (in_place && !layer.needs_output) s.output = steps[i + 1].output;
      else s.output = result.saved, result.saved += detail::padded(layer.out_size);
      in_place = layer.in_place;
      s.gelu_next = layer.affine && before_gelu, s.sum_next = layer.sum_last && before_norm;
      if (layer.gelu && i + 1 < leaves.size()) steps[i + 1].gelu_before = before_affine;
      before_gelu = layer.gelu, before_norm = layer.norm_first, before_affine = layer.affine;
      result.norm_first = layer.norm_first;
      s.saved = result.saved, result.saved += detail::padded(layer.saved);
      s.stash = result.stash, result.stash += detail::padded(layer.stash);
      if (i > 0 && !layer.passes_gradient) {
        s.gradient = result.stash, result.stash += detail::padded(layer.in_size);
        result.gradient_buffer = std::max(result.gradient_buffer, detail::padded(layer.in_size));
      }
      inner_scratch = std::max(inner_scratch, detail::padded(layer.scratch));
      result.workspace = std::max(result.workspace, layer.workspace);
      result.cost += layer.cost;
    });
  if (!steps.empty()) result.in_size = steps.front().in_size, result.out_size = steps.back().out_size;
  result.scratch = 2 * result.gradient_buffer + inner_scratch;
  return result;
}

template <class T, class... Parts>
template <class Call>
void chain<T, Parts...>::forward(const Call& c, const chain_plan& plan, const T* p, arriving_sum<T> in, T* out, T* saved) const {
  const auto output = [&](std::size_t i) { return plan.steps[i].output == chain_plan::outside ? out : saved + plan.steps[i].output * c.rows; };
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const auto& s = plan.steps[i];
    T *to = output(i), *memory = saved + s.saved * c.rows;
    const T *value = in.b ? in.sum : in.a, *branch = nullptr;
    visit(s.leaf, [&](const auto& layer) {
      if constexpr (requires { layer.forward_gelu(c, p, value, to, to); })
        if (s.gelu_next) return layer.forward_gelu(c, p, value, to, output(i + 1));
      if constexpr (requires { layer.forward_branch(c, p, in, to, memory); })
        if (s.sum_next) return void(branch = layer.forward_branch(c, p, in, to, memory));
      if constexpr (requires { layer.forward(c, p, in, to, memory); })
        if (in.b) return layer.forward(c, p, in, to, memory);
      layer.forward(c, p, value, to, memory);
    });
    if (s.gelu_next) to = output(++i);
    in = branch ? arriving_sum<T>{value, branch, to} : arriving_sum<T>{to};
  }
}

template <class T, class... Parts>
template <class Call>
void chain<T, Parts...>::backward(const Call& c, const chain_plan& plan, const T* p, const kept<T>& k, const T* dout, T* din, T* g,
                                  const ready_reference& ready, const T* also) const {
  const Call inner = c.with_scratch(c.scratch + 2 * plan.gradient_buffer * c.rows);
  std::size_t turn = 0;
  for (std::size_t i = plan.steps.size(); i-- > 0;) {
    const auto& s = plan.steps[i];
    const kept<T> mine = kept_by(plan, i, k, c.rows);
    if (s.gelu_before) --i;  // it has no parameters, and its gradient is computed here
    const T* const more = i == 0 ? also : nullptr;
    T* to = i == 0 ? din : s.passes_gradient ? nullptr : c.scratch + turn * plan.gradient_buffer * c.rows;
    visit(s.leaf, [&](const auto& layer) {
      if constexpr (std::remove_cvref_t<decltype(layer)>::composite) layer.backward(inner, p, mine, dout, to, g, ready), add(inner, layer.in_size, more, to);
      else {
        if (!inner.skips(layer.parameters)) layer.backward_parameters(inner, p, mine, dout, g);
        for (const auto& block : layer.parameters) ready(block.index);
        if (!to) return;
        if constexpr (requires { layer.backward_input_gelu(inner, p, dout, dout, to); })
          if (s.gelu_before) return layer.backward_input_gelu(inner, p, kept_by(plan, i, k, c.rows).in, dout, to), add(inner, layer.in_size, more, to);
        input_gradient(inner, layer, p, mine, dout, more, to);
      }
    });
    if (to) dout = to, turn = 1 - turn;
  }
}

template <class T, class... Parts>
template <class Call>
void chain<T, Parts...>::backward_input(const Call& c, const chain_plan& plan, const T* p, const kept<T>& k, const T* dout, T* din,
                                        const T* also) const {
  for (std::size_t i = plan.steps.size(); i-- > 0;) {
    const auto& s = plan.steps[i];
    T* to = i == 0 ? din : s.passes_gradient ? nullptr : k.stash + s.gradient * c.rows;
    const T* from = stashed_gradient(plan, i, k, dout, c.rows);
    // A composite layer without a gradient to pass on must still leave its stash for the second half.
    visit(s.leaf, [&](const auto& layer) {
      if (to || std::remove_cvref_t<decltype(layer)>::composite) input_gradient(c, layer, p, kept_by(plan, i, k, c.rows), from, i == 0 ? also : nullptr, to);
    });
  }
}

template <class T, class... Parts>
template <class Call>
void chain<T, Parts...>::backward_parameters(const Call& c, const chain_plan& plan, const T* p, const kept<T>& k, const T* dout,
                                             T* g) const {
  for (std::size_t i = plan.steps.size(); i-- > 0;)
    visit(plan.steps[i].leaf, [&](const auto& layer) {
      if (!std::remove_cvref_t<decltype(layer)>::composite && c.skips(layer.parameters)) return;
      layer.backward_parameters(c, p, kept_by(plan, i, k, c.rows), stashed_gradient(plan, i, k, dout, c.rows), g);
    });
}

}  // namespace entrain::nn
