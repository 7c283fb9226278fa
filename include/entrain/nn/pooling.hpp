// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/describe.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>

// Maximum or average over square windows of [channels, height, width] samples; pixels that do not fill a window are left out.

namespace entrain::nn {

using ops::pooling_kind;

template <class T>
class pooling_layer : public layer_base {
 public:
  pooling_layer(const ops::pooling& op, shape in)
      : layer_base(std::move(in), {op.channels, op.out_height(), op.out_width()}), operation_(op) {
    needs_output = op.kind == pooling_kind::maximum;
    cost = double(out_size) * double(op.window * op.window);
  }

  template <class U>

  void initialise(U*, std::uint64_t) const {}
  template <class Call>
  void forward(const Call& c, const T*, const T* in, T* out, T*) const {
    op::do_forward(c.engine, operation(c), in, out);
  }
  template <class Call>
  void backward_input(const Call& c, const T*, const kept<T>& k, const T* dout, T* din) const {
    op::do_backward(c.engine, operation(c), k.in, k.out, dout, din);
  }
  template <class Call>
  void backward_parameters(const Call&, const T*, const kept<T>&, const T*, T*) const {}

 private:
  template <class Call>
  ops::pooling operation(const Call& c) const {
    ops::pooling op = operation_;
    op.samples = c.rows;
    return op;
  }
  ops::pooling operation_;
};

struct pooling {
  pooling_kind kind = pooling_kind::maximum;
  std::size_t window = 2, stride = 2;

  template <class T>
  pooling_layer<T> make(builder&, shape in, const std::string&) const {
    detail::require_rank("nn::pooling", in, 3, "[channels, height, width]");
    if (window == 0 || stride == 0) throw usage_error("nn::pooling", "a size of zero", "window and stride >= 1", describe());
    if (in[1] < window || in[2] < window)
      throw usage_error("nn::pooling", "the window is larger than the image", "at least " + std::to_string(window) + " pixels a side",
                        to_string(in));
    const ops::pooling operation{kind, 0, in[0], in[1], in[2], window, stride};
    return pooling_layer<T>(operation, std::move(in));
  }
  std::string describe() const {
    return describe_members(kind == pooling_kind::maximum ? "maximum_pooling" : "average_pooling", "window", window, "stride", stride);
  }
  friend bool operator==(const pooling&, const pooling&) = default;
};

}  // namespace entrain::nn
