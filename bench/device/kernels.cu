// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include <entrain/core/dtype.hpp>
#include <entrain/device/nn/activation.cuh>
#include <entrain/device/nn/affine_endings.cuh>
#include <entrain/device/nn/attention.cuh>
#include <entrain/device/nn/column_sum.cuh>
#include <entrain/device/nn/embedding.cuh>
#include <entrain/device/nn/layer_norm.cuh>
#include <entrain/device/nn/softmax_cross_entropy.cuh>
#include <entrain/device/optim/gradient_norm.cuh>
#include <entrain/device/optim/update.cuh>
#include <entrain/optim/adamw.hpp>

#include "measure.cuh"

// Every kernel of a GPT-2 124M step in bfloat16 against its limit: the bytes that it must move against a copy, or its flops against the
// product of two large matrices. What a kernel must move is what its own comment says.
//
//   kernels [--rounds N]     batch 32 x 1024; prints value <kernel>_share_of_copy <x> and value <kernel>_tflops <x>
//   kernels --check          tiny sizes: shows that all of it runs, times mean nothing

namespace {

using namespace bench;
using T = bfloat16;
using nn::ops::statistic;

// GPT-2 124M; `sets`: copies of what is short, so that a launch finds nothing in the cache that the one before has read.
struct sizes {
  std::size_t batch = 32, length = 1024, heads = 12, head_width = 64, vocabulary = 50257, layers = 12;
  std::size_t copy_bytes = std::size_t(2) << 30, square = 8192;
  int sets = 8;
  std::size_t rows() const { return batch * length; }
  std::size_t width() const { return heads * head_width; }
};
const sizes tiny{2, 48, 2, 32, 203, 1, 1 << 16, 64, 2};

template <class U>
const U* constant(const device_memory<U>& memory) {
  return memory.data();
}

void measure_peaks(card& c, const sizes& s) {
  print_value("product_bf16_tflops", product_rate<T>(c, c.queue(), s.square) * 1e-12);
  print_value("product_fp32_tflops", product_rate<float>(c, c.queue(), s.square) * 1e-12);
  print_value("product_tf32_tflops", product_rate<float>(c, engine::cuda{.tensor_float = true}.start(), s.square) * 1e-12);
}

// A product of a step in its three roles, with the sizes that each has. A weight's gradient has sums as long as the batch.
void measure_product(card& c, const std::string& name, std::size_t rows, std::size_t in, std::size_t out, bool transposed) {
  const auto x = c.random<T>(rows * in), weight = c.random<T>(in * out, 0.02), bias = c.random<T>(out);
  auto y = c.random<T>(rows * out), gradient = c.random<T>(in * out), dx = c.random<T>(rows * in);
  const auto& queue = c.queue();
  const double flops = 2.0 * double(rows) * double(in) * double(out);
  c.report_flops(name + "_forward", flops, [&](int) {
    if (transposed) run(queue, nn::ops::gemm{false, true, rows, out, in, in, in, out, 1, 0}, constant(x), constant(weight), y.data());
    else run(queue, nn::ops::affine{rows, in, out}, constant(x), constant(weight), constant(bias), y.data());
  });
  c.report_flops(name + "_backward_input", flops, [&](int) {
    run(queue, nn::ops::gemm{false, !transposed, rows, in, out, out, transposed ? in : out, in, 1, 0}, constant(y), constant(weight), dx.data());
  });
  c.report_flops(name + "_backward_weight", flops, [&](int) {
    if (transposed) run(queue, nn::ops::gemm{true, false, out, in, rows, out, in, in, 1, 0}, constant(y), constant(x), gradient.data());
    else run(queue, nn::ops::gemm{true, false, in, out, rows, in, out, out, 1, 0}, constant(x), constant(y), gradient.data());
  });
}

std::size_t padded(std::size_t vocabulary) { return (vocabulary + 127) / 128 * 128; }

// A linear layer with its neighbours in the products (device/nn/affine_endings.cuh), against one after the other: what is above 1 pays.
void measure_joined(card& c, std::size_t rows, std::size_t width) {
  const std::size_t wide = 4 * width;
  const auto x = c.random<T>(rows * width), up = c.random<T>(width * wide, 0.02), down = c.random<T>(wide * width, 0.02), bias = c.random<T>(wide), dy = c.random<T>(rows * width);
  auto kept = c.random<T>(rows * wide), out = c.random<T>(rows * wide), dweight = c.random<T>(width * wide), dbias = c.random<T>(wide);
  const auto& queue = c.queue();
  const nn::ops::activation gelu{nn::ops::activation_kind::gelu, rows * wide};
  const auto ratio = [&](const char* name, auto&& apart, auto&& joined) {
    const double slow = c.in_turns(1, [&](int) { apart(); }).seconds, fast = c.in_turns(1, [&](int) { joined(); }).seconds;
    std::printf("ratio joined_%s %.3g\n", name, slow / fast);
  };
  ratio("gelu", [&] {
    run(queue, nn::ops::affine{rows, width, wide}, constant(x), constant(up), constant(bias), kept.data());
    forward(queue, gelu, constant(kept), out.data());
  }, [&] { run(queue, nn::ops::affine_gelu{rows, width, wide}, constant(x), constant(up), constant(bias), kept.data(), out.data()); });
  ratio("gelu_slope", [&] {
    run(queue, nn::ops::gemm{false, true, rows, wide, width, width, width, wide, 1, 0}, constant(dy), constant(down), out.data());
    backward(queue, gelu, constant(kept), constant(out), out.data());
  }, [&] { run(queue, nn::ops::affine_gelu_slope{rows, wide, width}, constant(dy), constant(down), constant(kept), out.data()); });
  ratio("bias_gradient", [&] {
    run(queue, nn::ops::gemm{true, false, width, wide, rows, width, wide, wide, 1, 0}, constant(x), constant(out), dweight.data());
    run(queue, nn::ops::column_sum{rows, wide, false}, constant(out), dbias.data());
  }, [&] { run(queue, nn::ops::affine_gradient{rows, width, wide, false}, constant(x), constant(out), dweight.data(), dbias.data()); });
}

void measure_products(card& c, const sizes& s) {
  const std::size_t rows = s.rows(), w = s.width();
  measure_product(c, "product_attention_in", rows, w, 3 * w, false);
  measure_product(c, "product_attention_out", rows, w, w, false);
  measure_product(c, "product_mlp_in", rows, w, 4 * w, false);
  measure_product(c, "product_mlp_out", rows, 4 * w, w, false);
  measure_product(c, "product_logits", rows, w, s.vocabulary, true);
  measure_product(c, "product_logits_padded", rows, w, padded(s.vocabulary), true);
  measure_joined(c, rows, w);
}

void measure_layer_norm(card& c, const sizes& s) {
  const std::size_t rows = s.rows(), width = s.width(), n = rows * width, sets = std::size_t(s.sets);
  const auto a = c.random<T>(n * sets), b = c.random<T>(n * sets), gain = c.random<T>(width), bias = c.random<T>(width);
  device_memory<T> sum(n * sets), out(n * sets), dgain(width), dbias(width);
  device_memory<statistic<T>> mean(rows), inverse(rows);
  const auto& queue = c.queue();
  const double bytes = double(n * sizeof(T));
  const nn::ops::layer_norm alone{rows, width, 1e-5f, false};
  const nn::ops::add_layer_norm added{rows, width};
  const auto at = [&](int i) { return std::size_t(i) * n; };
  c.report("layer_norm_forward", 2 * bytes, s.sets, [&](int i) { forward(queue, alone, constant(a) + at(i), constant(gain), constant(bias), out.data() + at(i), mean.data(), inverse.data()); });
  c.report("layer_norm_backward_input", 3 * bytes, s.sets, [&](int i) {
    backward_input(queue, alone, constant(a) + at(i), constant(gain), constant(mean), constant(inverse), constant(b) + at(i), out.data() + at(i));
  });
  c.report("layer_norm_backward_parameters", 2 * bytes, s.sets, [&](int i) {
    backward_parameters(queue, alone, constant(a) + at(i), constant(mean), constant(inverse), constant(b) + at(i), dgain.data(), dbias.data());
  });
  c.report("add_layer_norm_forward", 4 * bytes, s.sets, [&](int i) {
    forward(queue, added, constant(a) + at(i), constant(b) + at(i), constant(gain), constant(bias), sum.data() + at(i), out.data() + at(i), mean.data(), inverse.data());
  });
  c.report("add_layer_norm_backward_input", 4 * bytes, s.sets, [&](int i) {
    backward_input(queue, added, constant(sum) + at(i), constant(gain), constant(mean), constant(inverse), constant(a) + at(i), constant(b) + at(i), out.data() + at(i));
  });
}

void measure_elementwise(card& c, const sizes& s) {
  const std::size_t rows = s.rows(), width = s.width(), n = rows * width, sets = std::size_t(s.sets), wide = 4 * n;
  const auto a = c.random<T>(n * sets), b = c.random<T>(n * sets);
  device_memory<T> out(n * sets), sums(4 * width);
  const auto& queue = c.queue();
  const double bytes = double(n * sizeof(T));
  // The widest activations are four times as long: a quarter of the sets.
  const nn::ops::activation gelu{nn::ops::activation_kind::gelu, wide};
  const int wide_sets = s.sets / 4 > 0 ? s.sets / 4 : 1;
  const std::size_t fits = n * sets / wide;  // none in tiny sizes: then a shorter one
  const nn::ops::activation activation = fits > 0 ? gelu : nn::ops::activation{gelu.kind, n};
  const auto at = [&](int i) { return fits > 0 ? std::size_t(i) * wide : 0; };
  const double activated = double(activation.count * sizeof(T));
  c.report("gelu_forward", 2 * activated, wide_sets, [&](int i) { forward(queue, activation, constant(a) + at(i), out.data() + at(i)); });
  c.report("gelu_backward", 3 * activated, wide_sets, [&](int i) { backward(queue, activation, constant(a) + at(i), constant(b) + at(i), out.data() + at(i)); });
  const auto of = [&](int i) { return std::size_t(i) * n; };
  c.report("add", 3 * bytes, s.sets, [&](int i) { run(queue, nn::ops::add{n}, constant(a) + of(i), constant(b) + of(i), out.data() + of(i)); });
  c.report("column_sum", bytes, s.sets, [&](int i) { run(queue, nn::ops::column_sum{rows, width, false}, constant(a) + of(i), sums.data()); });
}

void measure_embedding(card& c, const sizes& s) {
  const std::size_t rows = s.rows(), width = s.width(), sets = std::size_t(s.sets);
  std::vector<std::int32_t> ids(rows);
  const random_stream random(3, purpose::user);
  std::vector<bool> seen(s.vocabulary);
  std::size_t distinct = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    ids[i] = std::int32_t(random.below(i, s.vocabulary));
    if (!seen[std::size_t(ids[i])]) seen[std::size_t(ids[i])] = true, ++distinct;
  }
  device_memory<std::int32_t> on_card(rows);
  c.queue().copy(static_cast<const std::int32_t*>(ids.data()), on_card.data(), rows);
  auto table = c.random<T>(s.vocabulary * width, 0.02), rows_of = c.random<T>(rows * width * sets);
  const nn::ops::embedding op{rows, width, s.vocabulary};
  const double a_row = double(width * sizeof(T));
  c.report("embedding_forward", (double(rows) + double(distinct)) * a_row, s.sets, [&](int i) { forward(c.queue(), op, constant(on_card), constant(table), rows_of.data() + std::size_t(i) * rows * width); });
  c.report("embedding_backward", (double(rows) + 2 * double(distinct)) * a_row, s.sets, [&](int i) {
    backward(c.queue(), op, constant(on_card), constant(rows_of) + std::size_t(i) * rows * width, table.data());
  });
}

// With and without padding of the vocabulary: rows of 50257 begin at odd places. The time includes the wait for the loss.
void measure_cross_entropy(card& c, const sizes& s) {
  const std::size_t rows = s.rows();
  for (const bool pads : {false, true}) {
    const std::size_t classes = pads ? padded(s.vocabulary) : s.vocabulary, n = rows * classes;
    const auto logits = c.random<T>(n);
    device_memory<T> gradient(n);
    device_memory<std::int32_t> targets(rows);  // zeros
    const nn::ops::softmax_cross_entropy op{rows, classes, 1};
    const std::string name = std::string("softmax_cross_entropy_") + (pads ? "padded_" : "");
    c.report(name + "forward", double(n * sizeof(T)), 1, [&](int) { (void)forward(c.queue(), op, constant(logits), constant(targets)); });
    c.report(name + "forward_backward", 2 * double(n * sizeof(T)), 1, [&](int) { (void)forward_backward(c.queue(), op, constant(logits), constant(targets), gradient.data()); });
  }
}

// Flops as is usual: half of the length x length matrix, two products forward, five backward (ours computes seven).
void measure_attention(card& c, const sizes& s) {
  const nn::ops::causal_attention op{s.batch, s.length, s.heads, s.head_width};
  const std::size_t n = s.rows() * s.width();
  const auto qkv = c.random<T>(3 * n), dout = c.random<T>(n);
  device_memory<T> out(n), dqkv(3 * n);
  device_memory<statistic<T>> log_sum_exp(s.rows() * s.heads);
  const double flops = 4.0 * double(s.batch * s.heads) * double(s.length) * double(s.length) / 2 * double(s.head_width);
  T* const none = nullptr;
  c.report_flops("attention_forward", flops, [&](int) { forward(c.queue(), op, constant(qkv), out.data(), log_sum_exp.data(), none); });
  c.report_flops("attention_backward", 2.5 * flops, [&](int) { backward(c.queue(), op, constant(qkv), constant(out), constant(log_sum_exp), constant(dout), dqkv.data(), none); });
#if defined(ENTRAIN_CUDNN)  // the above may have been cuDNN's
  std::fputs(device::attention::describe_cudnn(c.queue()).c_str(), stdout);
  const auto ours = [&](auto width) {
    constexpr int head_width = decltype(width)::value;
    c.report_flops("own_attention_forward", flops, [&](int) { device::attention::launch_matrix_forward<head_width>(c.queue(), op, constant(qkv), out.data(), log_sum_exp.data()); });
    c.report_flops("own_attention_backward", 2.5 * flops, [&](int) {
      device::attention::launch_matrix_backward<head_width>(c.queue(), op, constant(qkv), constant(out), constant(log_sum_exp), constant(dout), dqkv.data());
    });
  };
  nn::ops::detail::on_tensor_cores<T>(op, {constant(qkv), out.data()}, ours);
#endif
}

// The blocks of the model: 124 M parameters of very different sizes.
parameter_layout gpt2_layout(const sizes& s) {
  parameter_layout all;
  const std::size_t w = s.width();
  all.add("wte", {s.vocabulary, w}, block_kind::weight);
  all.add("wpe", {s.length, w}, block_kind::weight);
  for (std::size_t l = 0; l < s.layers; ++l) {
    const std::string h = "h." + std::to_string(l) + ".";
    for (const char* norm : {"ln_1", "ln_2"})
      for (const char* part : {".weight", ".bias"}) all.add(h + norm + part, {w}, block_kind::vector);
    const auto linear = [&](const char* name, std::size_t in, std::size_t out) {
      all.add(h + name + ".weight", {in, out}, block_kind::weight);
      all.add(h + name + ".bias", {out}, block_kind::vector);
    };
    linear("attn.c_attn", w, 3 * w), linear("attn.c_proj", w, w), linear("mlp.c_fc", w, 4 * w), linear("mlp.c_proj", 4 * w, w);
  }
  for (const char* part : {"weight", "bias"}) all.add(std::string("ln_f.") + part, {w}, block_kind::vector);
  return all;
}

void measure_adamw(card& c, const sizes& s) {
  const auto layout = gpt2_layout(s);
  const std::size_t n = layout.size();
  const device::update_table table(layout);
  auto x = c.random<float>(n, 0.02);
  const auto gradient = c.random<float>(n, 1e-3);
  const auto short_gradient = c.random<T>(n, 1e-3);
  device_memory<float> m(n), v(n);
  device_memory<T> rounded(n);
  optim::update_context context;
  context.learning_rate = 1e-4;
  const double bytes = 28.0 * double(layout.parameter_count());
  const std::array<float*, 2> state{m.data(), v.data()};
  c.report("adamw_fp32", bytes, 1, [&](int) { device::update(c.queue(), optim::adamw{}, context, table, x.data(), constant(gradient), state); });
  c.report("adamw_mixed", bytes, 1, [&](int) { device::update(c.queue(), optim::adamw{}, context, table, x.data(), rounded.data(), constant(short_gradient), state); });
  c.report("adamw_mixed_stochastic", bytes, 1, [&](int) {
    device::update(c.queue(), optim::adamw{}, context, table, x.data(), rounded.data(), constant(short_gradient), state, {.stochastic_rounding = true, .seed = 1});
  });
  device_memory<double> squares(1);
  c.report("gradient_norm", double(sizeof(T)) * double(layout.parameter_count()), 1, [&](int) { device::gradient_squares(c.queue(), table, constant(short_gradient), squares.data()); });
}

}  // namespace

int main(int arguments, char** given) try {
  int rounds = 20;
  bool checks = false;
  for (int i = 1; i < arguments; ++i) {
    if (std::strcmp(given[i], "--check") == 0) checks = true;
    else if (std::strcmp(given[i], "--rounds") == 0 && i + 1 < arguments) rounds = std::atoi(given[++i]);
    else return std::fprintf(stderr, "kernels takes --check and --rounds N, not '%s'\n", given[i]), 2;
  }
  const sizes s = checks ? tiny : sizes{};
  card c(s.copy_bytes, checks ? 1 : std::max(rounds, 1));
  measure_peaks(c, s);
  measure_adamw(c, s);
  measure_layer_norm(c, s);
  measure_cross_entropy(c, s);
  measure_elementwise(c, s);
  measure_embedding(c, s);
  measure_attention(c, s);
  measure_products(c, s);
  c.queue().wait();
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
