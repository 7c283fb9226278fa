// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/describe.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>

// Layer norm over the last dimension (Ba, Kiros, Hinton, 2016): blocks "weight" (gain) and "bias". Keeps two numbers a row.

namespace entrain::nn {

template <class T>
class layer_norm_layer : public layer_base {
 public:
  layer_norm_layer(builder& b, shape in, const std::string& prefix, float epsilon)
      : layer_base(in, in), width_(in_shape.back()), epsilon_(epsilon) {
    parameters = {b.add(prefix + "weight", {width_}, block_kind::vector), b.add(prefix + "bias", {width_}, block_kind::vector)};
    saved = 2 * (in_size / width_) * ops::elements_a_statistic<T>;
    cost = 8.0 * double(in_size);
    norm_first = true;
  }

  template <class U>
  void initialise(U* p, std::uint64_t seed) const {
    initialiser::ones().fill(p, parameters[0], width_, seed);
    initialiser::zeros().fill(p, parameters[1], width_, seed);
  }
  template <class Call>
  void forward(const Call& c, const T* p, const T* in, T* out, T* memory) const {
    const auto norm = operation(c);
    op::do_forward(c.engine, norm, in, p + parameters[0].offset, p + parameters[1].offset, out, mean(memory), mean(memory) + norm.rows);
  }
  template <class Call>
  void forward(const Call& c, const T* p, const arriving_sum<T>& in, T* out, T* memory) const {
    const std::size_t rows = operation(c).rows;
    op::do_forward(c.engine, ops::add_layer_norm{rows, width_, epsilon_}, in.a, in.b, p + parameters[0].offset, p + parameters[1].offset, in.sum, out, mean(memory),
                   mean(memory) + rows);
  }
  template <class Call>
  void backward_input(const Call& c, const T* p, const kept<T>& k, const T* dout, T* din) const {
    const auto norm = operation(c);
    op::do_backward_input(c.engine, norm, k.in, p + parameters[0].offset, as_const(mean(k.saved)), as_const(mean(k.saved) + norm.rows), dout, din);
  }
  // With the gradient that reaches the input on another path.
  template <class Call>
  void backward_input_sum(const Call& c, const T* p, const kept<T>& k, const T* dout, const T* also, T* din) const {
    const std::size_t rows = operation(c).rows;
    op::do_backward_input(c.engine, ops::add_layer_norm{rows, width_, epsilon_}, k.in, p + parameters[0].offset, as_const(mean(k.saved)), as_const(mean(k.saved) + rows), dout,
                          also, din);
  }
  template <class Call>
  void backward_parameters(const Call& c, const T*, const kept<T>& k, const T* dout, T* g) const {
    const auto norm = operation(c);
    op::do_backward_parameters(c.engine, norm, k.in, as_const(mean(k.saved)), as_const(mean(k.saved) + norm.rows), dout, g + parameters[0].offset,
                               g + parameters[1].offset);
  }

 private:
  using statistic = ops::statistic<T>;
  static statistic* mean(T* memory) { return reinterpret_cast<statistic*>(memory); }
  static const statistic* as_const(const statistic* pointer) { return pointer; }
  template <class Call>
  ops::layer_norm operation(const Call& c) const {
    return {c.rows * (in_size / width_), width_, epsilon_, c.accumulate};
  }

  std::size_t width_;
  float epsilon_;
};

struct layer_norm {
  float epsilon = 1e-5f;

  template <class T>
  layer_norm_layer<T> make(builder& b, shape in, const std::string& prefix) const {
    if (in.empty() || elements(in) == 0)
      throw usage_error("nn::layer_norm", "input of the wrong shape", "at least one feature", to_string(in));
    return layer_norm_layer<T>(b, std::move(in), prefix, epsilon);
  }
  std::string describe() const { return describe_members("layer_norm", "epsilon", epsilon); }
  friend bool operator==(const layer_norm&, const layer_norm&) = default;
};

}  // namespace entrain::nn
