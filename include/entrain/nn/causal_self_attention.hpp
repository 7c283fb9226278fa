// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string>
#include <utility>

#include <entrain/core/describe.hpp>
#include <entrain/nn/layer.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/reference.hpp>
#include <entrain/nn/sequential.hpp>

// Multi-head self-attention in which a position sees itself and those before it (Vaswani et al., 2017; GPT-2): one linear
// layer for queries, keys and values, the attention, one linear layer for the output. Works on [length, width] samples and
// on the packed tokens of a sequence model (shape [width]). Blocks c_attn.weight [width, 3 width], c_attn.bias,
// c_proj.weight [width, width], c_proj.bias. Keeps the logarithm of each row's normaliser and no length x length matrix.

namespace entrain::nn {

// The attention itself: in[..., 3 width] (queries, keys, values) -> out[..., width].
template <class T>
class attention_core : public layer_base {
 public:
  attention_core(shape in, shape out, std::size_t heads, std::size_t longest)
      : layer_base(std::move(in), std::move(out)),
        heads_(heads),
        width_(out_shape.back()),
        fixed_length_(in_shape.size() > 1 ? in_shape[0] : 0) {
    saved = heads * (in_shape.size() > 1 ? in_shape[0] : 1) * ops::elements_a_statistic<T>;
    needs_output = true;
    workspace = ops::causal_attention{1, longest, heads, width_ / heads}.workspace_size();
    cost = 4.0 * double(out_size) * double(longest) / 2;
  }

  template <class U>

  void initialise(U*, std::uint64_t) const {}
  template <class Call>
  void forward(const Call& c, const T*, const T* in, T* out, T* memory) const {
    op::do_forward(c.engine, operation(c), in, out, reinterpret_cast<ops::statistic<T>*>(memory), c.workspace);
  }
  template <class Call>
  void backward_input(const Call& c, const T*, const kept<T>& k, const T* dout, T* din) const {
    const auto* log_sum_exp = reinterpret_cast<const ops::statistic<T>*>(k.saved);
    op::do_backward(c.engine, operation(c), k.in, k.out, log_sum_exp, dout, din, c.workspace);
  }
  template <class Call>
  void backward_parameters(const Call&, const T*, const kept<T>&, const T*, T*) const {}

 private:
  template <class Call>
  ops::causal_attention operation(const Call& c) const {
    const std::size_t head_width = width_ / heads_;
    if (fixed_length_ > 0) return {c.rows, fixed_length_, heads_, head_width};
    return {c.length > 0 ? c.rows / c.length : c.rows, c.length > 0 ? c.length : 1, heads_, head_width};
  }
  std::size_t heads_, width_, fixed_length_;
};

namespace detail {
struct attention_core_description {
  std::size_t heads, longest;
  template <class T>
  attention_core<T> make(builder&, shape in, const std::string&) const {
    shape out = in;
    out.back() /= 3;
    return attention_core<T>(std::move(in), std::move(out), heads, longest);
  }
  std::string describe() const { return "attention"; }
};
}  // namespace detail

struct causal_self_attention {
  std::size_t heads = 1;
  std::size_t context = 0;  // longest sequence; 0: the length of the samples
  initialiser weights = initialiser::normal(0.02f);
  initialiser output_weights = initialiser::normal(0.02f);

  template <class T>
  auto make(builder& b, shape in, const std::string& prefix) const {
    if (in.empty() || in.size() > 2)
      throw usage_error("nn::causal_self_attention", "input of the wrong shape", "[length, width] or [width]", to_string(in));
    const std::size_t width = in.back(), longest = in.size() > 1 ? in[0] : context;
    if (heads == 0 || width == 0 || width % heads != 0)
      throw usage_error("nn::causal_self_attention", "the width does not divide into heads", "a multiple of " + std::to_string(heads),
                        std::to_string(width));
    if (longest == 0) throw usage_error("nn::causal_self_attention", "no longest sequence", "context >= 1", "0");
    const linear projection{3 * width, true, weights, initialiser::zeros()}, output{width, true, output_weights, initialiser::zeros()};
    return sequential{named{"c_attn", projection}, detail::attention_core_description{heads, longest}, named{"c_proj", output}}
        .template make<T>(b, std::move(in), prefix);
  }
  std::string describe() const { return describe_members("causal_self_attention", "heads", heads); }
  friend bool operator==(const causal_self_attention&, const causal_self_attention&) = default;
};

}  // namespace entrain::nn
