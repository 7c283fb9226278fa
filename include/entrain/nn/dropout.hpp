// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/describe.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>

// Dropout. In training an element is zeroed with `probability`, else scaled by 1 / (1 - probability); in evaluation nothing
// happens. The random number of an element depends on the seed, the step, the layer and the sample's place in the whole
// step's batch, so that the mask is the same on any number of ranks.

namespace entrain::nn {

template <class T>
class dropout_layer : public layer_base {
 public:
  dropout_layer(float probability, std::uint32_t stream, shape in) : layer_base(in, in), probability_(probability), stream_(stream) {
    identity = probability == 0;
    in_place = true;
    cost = double(in_size);
  }

  template <class U>

  void initialise(U*, std::uint64_t) const {}
  template <class Call>
  void forward(const Call& c, const T*, const T* in, T* out, T*) const {
    apply(c, in, out);
  }
  template <class Call>
  void backward_input(const Call& c, const T*, const kept<T>&, const T* dout, T* din) const {
    apply(c, dout, din);
  }
  template <class Call>
  void backward_parameters(const Call&, const T*, const kept<T>&, const T*, T*) const {}

 private:
  template <class Call>
  void apply(const Call& c, const T* in, T* out) const {
    const std::size_t count = c.rows * in_size;
    if (!c.how.training) return op::do_copy(c.engine, in, out, count);
    op::do_apply(
        c.engine,
        ops::dropout{count, probability_, random_stream(c.how.seed, purpose::dropout, stream_, c.how.step), c.first_row() * in_size}, in,
        out);
  }

  float probability_;
  std::uint32_t stream_;
};

struct dropout {
  float probability = 0.1f;

  template <class T>
  dropout_layer<T> make(builder& b, shape in, const std::string&) const {
    if (!(probability >= 0 && probability < 1))
      throw usage_error("nn::dropout", "a probability that keeps nothing or is none", "0 <= probability < 1", std::to_string(probability));
    return dropout_layer<T>(probability, b.next_layer(), std::move(in));
  }
  std::string describe() const { return describe_members("dropout", "probability", probability); }
  friend bool operator==(const dropout&, const dropout&) = default;
};

}  // namespace entrain::nn
