// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/nn/layer.hpp>

// Makes one dimension of all. The elements stay where they are, so a chain leaves the layer out.

namespace entrain::nn {

template <class T>
class flatten_layer : public layer_base {
 public:
  explicit flatten_layer(shape in) : layer_base(in, shape{elements(in)}) { identity = passes_gradient = in_place = true; }

  template <class U>

  void initialise(U*, std::uint64_t) const {}
  template <class Call>
  void forward(const Call& c, const T*, const T* in, T* out, T*) const {
    op::do_copy(c.engine, in, out, c.rows * in_size);
  }
  template <class Call>
  void backward_input(const Call& c, const T*, const kept<T>&, const T* dout, T* din) const {
    op::do_copy(c.engine, dout, din, c.rows * in_size);
  }
  template <class Call>
  void backward_parameters(const Call&, const T*, const kept<T>&, const T*, T*) const {}
};

struct flatten {
  template <class T>
  flatten_layer<T> make(builder&, shape in, const std::string&) const {
    return flatten_layer<T>(std::move(in));
  }
  std::string describe() const { return "flatten"; }
  friend bool operator==(const flatten&, const flatten&) = default;
};

}  // namespace entrain::nn
