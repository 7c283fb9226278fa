// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/describe.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>

// out = in * weight + bias over the last dimension. The weight is [inputs, outputs] (input-major, as in the public GPT-2
// files; PyTorch's nn.Linear keeps the transpose).

namespace entrain::nn {

template <class T>
class linear_layer : public layer_base {
 public:
  linear_layer(builder& b, shape in, shape out, const std::string& prefix, bool bias, initialiser weights, initialiser biases)
      : layer_base(std::move(in), std::move(out)),
        inputs_(in_shape.back()),
        outputs_(out_shape.back()),
        weights_(weights),
        biases_(biases) {
    parameters.push_back(b.add(prefix + "weight", {inputs_, outputs_}, block_kind::weight));
    if (bias) parameters.push_back(b.add(prefix + "bias", {outputs_}, block_kind::vector));
    cost = 2.0 * double(in_size) * double(outputs_);
    affine = bias;
  }

  template <class U>
  void initialise(U* p, std::uint64_t seed) const {
    weights_.fill(p, weight(), inputs_, seed);
    if (has_bias()) biases_.fill(p, bias(), inputs_, seed);
  }

  template <class Call>
  void forward(const Call& c, const T* p, const T* in, T* out, T*) const {
    const std::size_t rows = rows_of(c);
    if (has_bias()) op::do_affine(c.engine, ops::affine{rows, inputs_, outputs_}, in, p + weight().offset, p + bias().offset, out);
    else
      op::do_run(c.engine, ops::gemm{false, false, rows, outputs_, inputs_, inputs_, outputs_, outputs_, 1, 0, ops::eight_bits::values}, in,
                 p + weight().offset, out);
  }

  template <class Call>
  void backward_input(const Call& c, const T* p, const kept<T>&, const T* dout, T* din) const {
    const ops::eight_bits factors = ops::eight_bits::gradient_a;
    op::do_run(c.engine, ops::gemm{false, true, rows_of(c), inputs_, outputs_, outputs_, outputs_, inputs_, 1, 0, factors}, dout,
               p + weight().offset, din);
  }

  // With the GELU that follows: `out` is the activation's, `before` what it is computed from.
  template <class Call>
  void forward_gelu(const Call& c, const T* p, const T* in, T* before, T* out) const {
    op::do_affine_gelu(c.engine, ops::affine_gelu{rows_of(c), inputs_, outputs_}, in, p + weight().offset, p + bias().offset, before, out);
  }
  // With the GELU whose output is this layer's input: `before` is its input, din its input's gradient.
  template <class Call>
  void backward_input_gelu(const Call& c, const T* p, const T* before, const T* dout, T* din) const {
    op::do_affine_gelu_slope(c.engine, ops::affine_gelu_slope{rows_of(c), inputs_, outputs_}, dout, p + weight().offset, before, din);
  }

  template <class Call>
  void backward_parameters(const Call& c, const T*, const kept<T>& k, const T* dout, T* g) const {
    const std::size_t rows = rows_of(c);
    if (has_bias()) return op::do_affine_gradient(c.engine, ops::affine_gradient{rows, inputs_, outputs_, c.accumulate}, k.in, dout, g + weight().offset, g + bias().offset);
    const ops::eight_bits factors = ops::eight_bits::gradient_b;
    const float keeps = c.accumulate ? 1.0f : 0.0f;
    op::do_run(c.engine, ops::gemm{true, false, inputs_, outputs_, rows, inputs_, outputs_, outputs_, 1, keeps, factors}, k.in, dout,
               g + weight().offset);
  }

 private:
  bool has_bias() const { return parameters.size() > 1; }
  const parameter& weight() const { return parameters[0]; }
  const parameter& bias() const { return parameters[1]; }
  template <class Call>
  std::size_t rows_of(const Call& c) const {
    return c.rows * (in_size / inputs_);
  }

  std::size_t inputs_, outputs_;
  initialiser weights_, biases_;
};

struct linear {
  std::size_t outputs = 0;
  bool bias = true;
  initialiser weights = initialiser::fan_in();
  initialiser biases = initialiser::fan_in();

  template <class T>
  linear_layer<T> make(builder& b, shape in, const std::string& prefix) const {
    if (outputs == 0) throw usage_error("nn::linear", "a layer without outputs", "outputs >= 1", "0");
    if (elements(in) == 0 || in.empty()) throw usage_error("nn::linear", "input of the wrong shape", "at least one feature", to_string(in));
    shape out = in;
    out.back() = outputs;
    return linear_layer<T>(b, std::move(in), std::move(out), prefix, bias, weights, biases);
  }
  std::string describe() const { return describe_members("linear", "outputs", outputs, "bias", bias); }
  friend bool operator==(const linear&, const linear&) = default;
};

}  // namespace entrain::nn
