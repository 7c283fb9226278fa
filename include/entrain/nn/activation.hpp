// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>

// Element-wise nonlinearities: activation{activation_kind::relu}, or the short names relu, gelu, silu, tanh_activation.

namespace entrain::nn {

using ops::activation_kind;

constexpr const char* name_of(activation_kind kind) {
  switch (kind) {
    case activation_kind::relu:
      return "relu";
    case activation_kind::gelu:
      return "gelu";
    case activation_kind::silu:
      return "silu";
    case activation_kind::tanh:
      return "tanh";
  }
  return "activation";
}

template <class T>
class activation_layer : public layer_base {
 public:
  activation_layer(activation_kind kind, shape in) : layer_base(in, in), kind_(kind) { cost = double(in_size), gelu = kind == activation_kind::gelu; }

  template <class U>
  void initialise(U*, std::uint64_t) const {}
  template <class Call>
  void forward(const Call& c, const T*, const T* in, T* out, T*) const {
    op::do_forward(c.engine, ops::activation{kind_, c.rows * in_size}, in, out);
  }
  template <class Call>
  void backward_input(const Call& c, const T*, const kept<T>& k, const T* dout, T* din) const {
    op::do_backward(c.engine, ops::activation{kind_, c.rows * in_size}, k.in, dout, din);
  }
  template <class Call>
  void backward_parameters(const Call&, const T*, const kept<T>&, const T*, T*) const {}

 private:
  activation_kind kind_;
};

struct activation {
  activation_kind kind = activation_kind::relu;

  template <class T>
  activation_layer<T> make(builder&, shape in, const std::string&) const {
    return activation_layer<T>(kind, std::move(in));
  }
  std::string describe() const { return name_of(kind); }
  friend bool operator==(const activation&, const activation&) = default;
};

inline constexpr activation relu{activation_kind::relu}, gelu{activation_kind::gelu}, silu{activation_kind::silu},
    tanh_activation{activation_kind::tanh};

}  // namespace entrain::nn
