// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/describe.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>

// Two-dimensional convolution (cross-correlation, as everywhere in the field) of [channels, height, width] samples:
// blocks "weight" [filters, channels, kernel, kernel] and "bias" [filters].

namespace entrain::nn {

template <class T>
class convolution_layer : public layer_base {
 public:
  convolution_layer(builder& b, const ops::convolution& op, shape in, const std::string& prefix, initialiser weights, initialiser biases)
      : layer_base(std::move(in), {op.filters, op.out_height(), op.out_width()}), operation_(op), weights_(weights), biases_(biases) {
    parameters = {b.add(prefix + "weight", {op.filters, op.channels, op.kernel, op.kernel}, block_kind::weight),
                  b.add(prefix + "bias", {op.filters}, block_kind::vector)};
    workspace = op.workspace_size();
    cost = 2.0 * double(out_size) * double(inputs());
  }

  template <class U>

  void initialise(U* p, std::uint64_t seed) const {
    weights_.fill(p, parameters[0], inputs(), seed);
    biases_.fill(p, parameters[1], inputs(), seed);
  }
  template <class Call>
  void forward(const Call& c, const T* p, const T* in, T* out, T*) const {
    op::do_forward(c.engine, operation(c), in, p + parameters[0].offset, p + parameters[1].offset, out, c.workspace);
  }
  template <class Call>
  void backward_input(const Call& c, const T* p, const kept<T>&, const T* dout, T* din) const {
    op::do_backward_input(c.engine, operation(c), p + parameters[0].offset, dout, din, c.workspace);
  }
  template <class Call>
  void backward_parameters(const Call& c, const T*, const kept<T>& k, const T* dout, T* g) const {
    op::do_backward_parameters(c.engine, operation(c), k.in, dout, g + parameters[0].offset, g + parameters[1].offset, c.workspace);
  }

 private:
  std::size_t inputs() const { return operation_.channels * operation_.kernel * operation_.kernel; }
  template <class Call>
  ops::convolution operation(const Call& c) const {
    ops::convolution op = operation_;
    op.samples = c.rows;
    op.accumulate = c.accumulate;
    return op;
  }

  ops::convolution operation_;
  initialiser weights_, biases_;
};

struct convolution {
  std::size_t filters = 0, kernel = 3, stride = 1, padding = 0;
  initialiser weights = initialiser::fan_in();
  initialiser biases = initialiser::fan_in();

  template <class T>
  convolution_layer<T> make(builder& b, shape in, const std::string& prefix) const {
    detail::require_rank("nn::convolution", in, 3, "[channels, height, width]");
    if (filters == 0 || kernel == 0 || stride == 0)
      throw usage_error("nn::convolution", "a size of zero", "filters, kernel and stride >= 1", describe());
    if (in[1] + 2 * padding < kernel || in[2] + 2 * padding < kernel)
      throw usage_error("nn::convolution", "the kernel is larger than the padded image",
                        "at least " + std::to_string(kernel) + " pixels a side", to_string(in));
    const ops::convolution op{0, in[0], in[1], in[2], filters, kernel, stride, padding, true};
    return convolution_layer<T>(b, op, std::move(in), prefix, weights, biases);
  }
  std::string describe() const {
    return describe_members("convolution", "filters", filters, "kernel", kernel, "stride", stride, "padding", padding);
  }
  friend bool operator==(const convolution&, const convolution&) = default;
};

}  // namespace entrain::nn
