// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/core/describe.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/reference.hpp>

// Batch norm (Ioffe, Szegedy, 2015) of [channels, ...] samples: blocks "weight" (gain), "bias", and the statistics
// "running_mean", "running_var". In training the statistics of the pass's own samples normalise (of this rank's share of
// the batch), and what is written as the gradient of the running blocks is samples * mean and samples * unbiased variance,
// summed; who applies updates turns them into running = 0.9 running + 0.1 sum / count. Evaluation uses the running values;
// there is no backward pass through that.

namespace entrain::nn {

template <class T>
class batch_norm_layer : public layer_base {
 public:
  batch_norm_layer(builder& b, shape in, const std::string& prefix, float epsilon)
      : layer_base(in, in), channels_(in_shape.front()), spatial_(in_size / channels_), epsilon_(epsilon) {
    parameters = {b.add(prefix + "weight", {channels_}, block_kind::vector), b.add(prefix + "bias", {channels_}, block_kind::vector),
                  b.add(prefix + "running_mean", {channels_}, block_kind::statistic),
                  b.add(prefix + "running_var", {channels_}, block_kind::statistic)};
    saved = 2 * channels_ * ops::elements_a_statistic<T>;
    workspace = channels_;
    cost = 8.0 * double(in_size);
  }

  template <class U>

  void initialise(U* p, std::uint64_t seed) const {
    initialiser::ones().fill(p, parameters[0], channels_, seed);
    initialiser::zeros().fill(p, parameters[1], channels_, seed);
    initialiser::zeros().fill(p, parameters[2], channels_, seed);
    initialiser::ones().fill(p, parameters[3], channels_, seed);
  }

  template <class Call>
  void forward(const Call& c, const T* p, const T* in, T* out, T* memory) const {
    if (c.rows == 0) return;
    const T *gain = p + parameters[0].offset, *bias = p + parameters[1].offset;
    if (c.how.training) return op::do_forward(c.engine, operation(c), in, gain, bias, out, means(memory), means(memory) + channels_);
    const T *mean = p + parameters[2].offset, *variance = p + parameters[3].offset;
    op::do_run(c.engine, ops::inverse_deviation{channels_, epsilon_}, variance, c.workspace);
    const T* inverse_deviation = c.workspace;
    op::do_forward_with(c.engine, operation(c), in, gain, bias, out, mean, inverse_deviation);
  }

  template <class Call>
  void backward_input(const Call& c, const T* p, const kept<T>& k, const T* dout, T* din) const {
    require_training(c);
    const statistic *mean = means(k.saved), *inverse_deviation = mean + channels_;
    op::do_backward_input(c.engine, operation(c), k.in, p + parameters[0].offset, mean, inverse_deviation, dout, din);
  }

  template <class Call>
  void backward_parameters(const Call& c, const T*, const kept<T>& k, const T* dout, T* g) const {
    require_training(c);
    const statistic *mean = means(k.saved), *inverse_deviation = mean + channels_;
    op::do_backward_parameters(c.engine, operation(c), k.in, mean, inverse_deviation, dout, g + parameters[0].offset,
                               g + parameters[1].offset);
    op::do_run(c.engine, ops::observed_statistics{c.rows, channels_, spatial_, epsilon_, c.accumulate}, mean, inverse_deviation, g + parameters[2].offset,
               g + parameters[3].offset);
  }

 private:
  using statistic = ops::statistic<T>;
  static statistic* means(T* memory) { return reinterpret_cast<statistic*>(memory); }
  template <class Call>
  ops::batch_norm operation(const Call& c) const {
    return {c.rows, channels_, spatial_, epsilon_, c.accumulate};
  }
  template <class Call>
  static void require_training(const Call& c) {
    if (!c.how.training) throw usage_error("nn::batch_norm", "gradient of an evaluation pass", "pass.training == true", "false");
  }

  std::size_t channels_, spatial_;
  float epsilon_;
};

struct batch_norm {
  float epsilon = 1e-5f;

  template <class T>
  batch_norm_layer<T> make(builder& b, shape in, const std::string& prefix) const {
    if (in.empty() || elements(in) == 0) throw usage_error("nn::batch_norm", "input of the wrong shape", "[channels, ...]", to_string(in));
    return batch_norm_layer<T>(b, std::move(in), prefix, epsilon);
  }
  std::string describe() const { return describe_members("batch_norm", "epsilon", epsilon); }
  friend bool operator==(const batch_norm&, const batch_norm&) = default;
};

}  // namespace entrain::nn
