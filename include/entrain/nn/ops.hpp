// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/core/philox.hpp>

// The operations of nn as plain descriptors: sizes and options, no pointers and no code. Each has one overload set
//
//   forward(engine, descriptor, pointers...)      backward...(engine, descriptor, pointers...)
//
// a back-end: nn/reference.hpp (plain loops, the truth), nn/host.hpp (vectorised and oneDNN), device/nn/*.cuh (CUDA).
// All matrices are row-major and dense. Pointers never alias unless a line says that they may. Gradients of parameters
// are added to what is there when `accumulate`, else overwritten.

namespace entrain::nn::ops {

// In which type statistics of rows are kept that 16 bits would spoil.
template <class T>
using statistic = std::conditional_t<(sizeof(T) < sizeof(float)), float, T>;
// Elements of type T that a statistic takes.
template <class T>
inline constexpr std::size_t elements_a_statistic = sizeof(statistic<T>) / sizeof(T);

// out[i] = in[i] in another type. run(engine, convert, const A* in, B* out)
struct convert { std::size_t count = 0; };

// Whether an engine may round a product's factors to 8 bits where the precision says so (precision::fp8_mixed), and which of them is a
// gradient: those need range more than digits.
enum class eight_bits : std::uint8_t { no, values, gradient_a, gradient_b };

// C[m, n] = alpha * op(A) * op(B) + beta * C, where op(A) is [m, k] and op(B) is [k, n]; ld* are row strides.
// run(engine, gemm, const T* a, const T* b, T* c)
struct gemm {
  bool transpose_a = false, transpose_b = false;
  std::size_t m = 0, n = 0, k = 0;
  std::size_t lda = 0, ldb = 0, ldc = 0;
  float alpha = 1, beta = 0;
  eight_bits factors = eight_bits::no;
};

// out[r, :] = bias. run(engine, broadcast_rows, const T* bias, T* out)
struct broadcast_rows { std::size_t rows = 0, width = 0; };

// out[r, :] = in[r, :] * weight[inputs, outputs] + bias; its factors are eight_bits::values. An engine need not have it: layers then run
// the two above. run(engine, affine, const T* in, const T* weight, const T* bias, T* out)
struct affine { std::size_t rows = 0, inputs = 0, outputs = 0; };

// The same with what follows it in a branch of a transformer: kept = in * weight + bias, out = gelu(kept).
// run(engine, affine_gelu, const T* in, const T* weight, const T* bias, T* kept, T* out)
struct affine_gelu { std::size_t rows = 0, inputs = 0, outputs = 0; };
// Backwards: din = (dout * transpose of weight[inputs, outputs]) times the slope of gelu at kept[rows, inputs].
// run(engine, affine_gelu_slope, const T* dout, const T* weight, const T* kept, T* din)
struct affine_gelu_slope { std::size_t rows = 0, inputs = 0, outputs = 0; };
// dweight (+)= transpose of in * dout, dbias (+)= sum over rows of dout.
// run(engine, affine_gradient, const T* in, const T* dout, T* dweight, T* dbias)
struct affine_gradient { std::size_t rows = 0, inputs = 0, outputs = 0; bool accumulate = true; };
// An engine need not have these three either: layers then run their parts.

// out[j] (+)= sum over rows of in[r, j]. run(engine, column_sum, const T* in, T* out)
struct column_sum { std::size_t rows = 0, width = 0; bool accumulate = true; };

// out[i] = a[i] + b[i]; out may be a or b. run(engine, add, const T* a, const T* b, T* out)
struct add { std::size_t count = 0; };

// GELU is the tanh form of GPT-2: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
enum class activation_kind { relu, gelu, silu, tanh };
// forward(engine, activation, const T* in, T* out)                       out may be in
// backward(engine, activation, const T* in, const T* dout, T* din)       din may be dout
struct activation { activation_kind kind; std::size_t count = 0; };

// Statistics are of type statistic<T>.
// forward(engine, layer_norm, in, gain, bias, out, mean[rows], inverse_deviation[rows])
// backward_input(engine, layer_norm, in, gain, mean, inverse_deviation, dout, din)
// backward_parameters(engine, layer_norm, in, mean, inverse_deviation, dout, dgain, dbias)
struct layer_norm { std::size_t rows = 0, width = 0; float epsilon = 1e-5f; bool accumulate = true; };

// sum = a + b, then out = layer norm of sum: the two read and write once what they share. sum may be a or b.
// forward(engine, add_layer_norm, a, b, gain, bias, sum, out, mean[rows], inverse_deviation[rows])
// backward_input(engine, add_layer_norm, sum, gain, mean, inverse_deviation, dout, dsum, din)
//   din = dsum + the norm's gradient: that of a as well as of b; dsum: what reaches sum on other paths; din may be dsum
// The gradients of gain and bias: backward_parameters of layer_norm, with sum as its input.
struct add_layer_norm { std::size_t rows = 0, width = 0; float epsilon = 1e-5f; };

// Channels-first: in[samples, channels, spatial]. Statistics are over samples x spatial.
// forward(engine, batch_norm, in, gain, bias, out, mean[channels], inverse_deviation[channels])   computes the statistics
// forward_with(engine, batch_norm, in, gain, bias, out, mean, inverse_deviation)                  uses the given ones
// backward_input(engine, batch_norm, in, gain, mean, inverse_deviation, dout, din)
// backward_parameters(engine, batch_norm, in, mean, inverse_deviation, dout, dgain, dbias)
// Given statistics may be of any type; what the forward pass computes is of type statistic<T>.
struct batch_norm { std::size_t samples = 0, channels = 0, spatial = 0; float epsilon = 1e-5f; bool accumulate = true; };

// out[i] = 1 / sqrt(variance[i] + epsilon). run(engine, inverse_deviation, const T* variance, T* out)
struct inverse_deviation { std::size_t count = 0; float epsilon = 1e-5f; };

// What a batch says of the running values, weighted by its samples: sum_mean (+)= samples * mean, sum_variance (+)= samples * unbiased
// variance. run(engine, observed_statistics, const statistic<T>* mean, const statistic<T>* inverse_deviation, T* sum_mean, T* sum_variance)
struct observed_statistics { std::size_t samples = 0, channels = 0, spatial = 0; float epsilon = 1e-5f; bool accumulate = true; };

// Sum of the rows' negative log-likelihoods; a row with a negative target is not counted. Here and below gradient_scale multiplies the
// gradient, not the loss.
// forward(engine, softmax_cross_entropy, const T* logits, const int32_t* targets) -> loss_sum
// forward_backward(engine, softmax_cross_entropy, const T* logits, const int32_t* targets, T* dlogits) -> loss_sum   dlogits may be logits
struct softmax_cross_entropy { std::size_t rows = 0, classes = 0; float gradient_scale = 1; };

// Sum over rows of 1/2 |prediction - target|^2; count is rows.
// forward(engine, squared_error, prediction, target) -> loss_sum;  forward_backward(..., dprediction) -> loss_sum
struct squared_error { std::size_t rows = 0, width = 0; float gradient_scale = 1; };

// forward(engine, embedding, const int32_t* ids, const T* table, T* out)
// backward(engine, embedding, const int32_t* ids, const T* dout, T* dtable)   always adds; duplicates in row order
struct embedding { std::size_t rows = 0, width = 0, vocabulary = 0; };

// qkv[batch, length, 3 * heads * head_width] (q, then k, then v; heads side by side) -> out[batch, length, heads * head_width].
// Softmax over positions <= own, scaled by 1/sqrt(head_width). Keeps log_sum_exp[batch, heads, length], of type statistic<T>, and no
// length x length matrix.
// forward(engine, causal_attention, qkv, out, log_sum_exp, workspace)
// backward(engine, causal_attention, qkv, out, log_sum_exp, dout, dqkv, workspace)      workspace: workspace_size() elements
struct causal_attention {
  std::size_t batch = 0, length = 0, heads = 0, head_width = 0;
  constexpr std::size_t width() const { return heads * head_width; }
  constexpr std::size_t workspace_size() const {  // two score matrices of one head at most, its q, k, v, ... padded to vectors
    const std::size_t rows = (length + 15) / 16 * 16, columns = (head_width + 15) / 16 * 16;
    return 2 * rows * rows + 8 * rows * columns + 4 * rows;
  }
};

// in[samples, channels, height, width] * weight[filters, channels, kernel, kernel] + bias -> out[samples, filters, out_height, out_width]
// forward(engine, convolution, in, weight, bias, out, workspace)
// backward_input(engine, convolution, weight, dout, din, workspace)
// backward_parameters(engine, convolution, in, dout, dweight, dbias, workspace)        workspace: workspace_size() elements
struct convolution {
  std::size_t samples = 0, channels = 0, height = 0, width = 0, filters = 0, kernel = 1, stride = 1, padding = 0;
  bool accumulate = true;
  constexpr std::size_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  constexpr std::size_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
  constexpr std::size_t workspace_size() const { return channels * kernel * kernel * out_height() * out_width(); }
};

enum class pooling_kind { maximum, average };
// forward(engine, pooling, in, out)     backward(engine, pooling, in, out, dout, din)   ties go to the first maximum
struct pooling {
  pooling_kind kind = pooling_kind::maximum;
  std::size_t samples = 0, channels = 0, height = 0, width = 0, window = 2, stride = 2;
  constexpr std::size_t out_height() const { return (height - window) / stride + 1; }
  constexpr std::size_t out_width() const { return (width - window) / stride + 1; }
};

// out[i] = kept(i) ? in[i] / (1 - probability) : 0, where kept(i) is a function of random.uniform(first_index + i).
// The backward pass applies the same function to dout. apply(engine, dropout, in, out)   out may be in
struct dropout {
  std::size_t count = 0;
  float probability = 0;
  random_stream random;
  std::uint64_t first_index = 0;
};

}  // namespace entrain::nn::ops
