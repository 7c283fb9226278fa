// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include <entrain/core/describe.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>

// Adds a learned vector a position: block "weight" [context, width]. Works on [length, width] samples and on the packed
// tokens of a sequence model (shape [width], `context` positions at most).

namespace entrain::nn {

template <class T>
class positional_embedding_layer : public layer_base {
 public:
  positional_embedding_layer(builder& b, shape in, const std::string& prefix, std::size_t context, initialiser weights)
      : layer_base(in, in), width_(in_shape.back()), context_(context), weights_(weights) {
    parameters = {b.add(prefix + "weight", {context_, width_}, block_kind::weight)};
    in_place = passes_gradient = true;
    cost = double(in_size);
  }

  template <class U>

  void initialise(U* p, std::uint64_t seed) const { weights_.fill(p, parameters[0], width_, seed); }
  template <class Call>
  void forward(const Call& c, const T* p, const T* in, T* out, T*) const {
    const std::size_t positions = length(c) * width_;
    for (std::size_t s = 0; s < samples(c); ++s)
      op::do_run(c.engine, ops::add{positions}, in + s * positions, p + parameters[0].offset, out + s * positions);
  }
  template <class Call>
  void backward_input(const Call& c, const T*, const kept<T>&, const T* dout, T* din) const {
    op::do_copy(c.engine, dout, din, c.rows * in_size);
  }
  template <class Call>
  void backward_parameters(const Call& c, const T*, const kept<T>&, const T* dout, T* g) const {
    const std::size_t positions = length(c) * width_;
    T* table = g + parameters[0].offset;
    op::do_run(c.engine, ops::column_sum{samples(c), positions, c.accumulate}, dout, table);
    if (!c.accumulate) op::do_zero(c.engine, table + positions, parameters[0].count - positions);
  }

 private:
  template <class Call>
  std::size_t length(const Call& c) const {
    return in_shape.size() > 1 ? in_size / width_ : c.length;
  }
  template <class Call>
  std::size_t samples(const Call& c) const {
    return in_shape.size() > 1 || c.length == 0 ? c.rows : c.rows / c.length;
  }

  std::size_t width_, context_;
  initialiser weights_;
};

struct positional_embedding {
  std::size_t context = 0;  // 0: the length of the samples
  initialiser weights = initialiser::normal(0.02f);

  template <class T>
  positional_embedding_layer<T> make(builder& b, shape in, const std::string& prefix) const {
    if (in.empty() || in.size() > 2)
      throw usage_error("nn::positional_embedding", "input of the wrong shape", "[length, width] or [width]", to_string(in));
    const std::size_t positions = in.size() == 2 ? in[0] : context;
    if (positions == 0) throw usage_error("nn::positional_embedding", "no positions", "context >= 1", "0");
    return positional_embedding_layer<T>(b, std::move(in), prefix, positions, weights);
  }
  std::string describe() const { return describe_members("positional_embedding", "context", context); }
  friend bool operator==(const positional_embedding&, const positional_embedding&) = default;
};

}  // namespace entrain::nn
