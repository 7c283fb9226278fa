// SPDX-License-Identifier: Apache-2.0
// entrain-test: emulated, slow
#define ENTRAIN_CUDNN 1
#include "../catch.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/small_float.hpp>
#include <entrain/device/device.cuh>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/reference/attention.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/trainer/trainer.hpp>

#include "device_test.hpp"

// How cuDNN is asked, and when not: strides, offsets, statistics, plans, refusals. (On a device tests/device/test_attention.cpp and the
// trainers run through cuDNN itself where tests/gpu.sh finds it.)

using namespace entrain;
using nn::ops::causal_attention;
using Catch::Matchers::Contains;

namespace {

emulated::cudnn_state& cudnn() { return emulated::cudnn(); }

struct sequences {
  using batch_type = token_batch;
  std::uint64_t size() const { return 16; }
  void fill(std::span<const std::uint64_t> indices, token_batch& batch) const {
    batch.resize(indices.size(), 12);
    for (std::size_t i = 0; i < 12 * indices.size(); ++i) batch.inputs[i] = std::int32_t((i + indices[i / 12]) % 23), batch.targets[i] = (batch.inputs[i] + 1) % 23;
  }
};

struct fresh_counts {
  fresh_counts() { cudnn().built = 0, cudnn().forward_runs = 0, cudnn().backward_runs = 0; }
};

// One forward and one backward pass on a context of their own, or on one that is given.
template <class T>
struct passes {
  causal_attention op;
  std::vector<T> qkv_values, dout_values;
  test::on_device<T> qkv, dout, out, dqkv;
  test::on_device<nn::ops::statistic<T>> sums;
  engine::cuda_queue queue;

  explicit passes(const causal_attention& d, const engine::cuda_queue& on = engine::cuda{}.start())
      : op(d), qkv_values(test::normal_values<T>(d.batch * d.length * 3 * d.width(), 1)), dout_values(test::normal_values<T>(d.batch * d.length * d.width(), 2)),
        qkv(qkv_values), dout(dout_values), out(test::on_device<T>::poisoned(dout_values.size())), dqkv(test::on_device<T>::poisoned(qkv_values.size())),
        sums(test::on_device<nn::ops::statistic<T>>::poisoned(d.batch * d.heads * d.length)), queue(on) {}

  const T* in() const { return qkv.data(); }
  void go_forward() const { forward(queue, op, in(), out.data(), sums.data(), static_cast<T*>(nullptr)); }
  void go_backward() const {
    backward(queue, op, in(), static_cast<const T*>(out.data()), static_cast<const nn::ops::statistic<T>*>(sums.data()), static_cast<const T*>(dout.data()), dqkv.data(), static_cast<T*>(nullptr));
  }
  void go() const { go_forward(), go_backward(); }
  // Of everything that the passes leave, against the reference.
  double distance() const {
    const std::vector<float> q(qkv_values.begin(), qkv_values.end()), dy(dout_values.begin(), dout_values.end());
    std::vector<float> y(dy.size()), dq(q.size()), s(op.batch * op.heads * op.length), workspace(op.workspace_size());
    forward(engine::reference{}, op, q.data(), y.data(), s.data(), workspace.data());
    backward(engine::reference{}, op, q.data(), y.data(), s.data(), dy.data(), dq.data(), workspace.data());
    return std::max({test::distance(out.host(), y), test::distance(sums.host(), s), test::distance(dqkv.host(), dq)});
  }
};

}  // namespace

TEST_CASE("cuDNN's attention equals the reference", "[device]") {
  const causal_attention shapes[] = {{1, 1, 1, 8}, {2, 5, 3, 16}, {3, 33, 2, 64}, {2, 70, 1, 128}, {1, 17, 4, 24}};
  for (const auto& op : shapes) {
    CAPTURE(op.batch, op.length, op.heads, op.head_width);
    const fresh_counts none;
    const passes<bfloat16> brain(op);
    brain.go();
    CHECK(brain.distance() < (op.length == 1 ? 2e-2 : 1e-2));
    const passes<float16> half(op);
    half.go();
    CHECK(half.distance() < 2e-3);
    const passes<binary16> infinite(op);
    infinite.go();
    CHECK(infinite.distance() < 2e-3);
    CHECK(cudnn().forward_runs == 3);
    CHECK(cudnn().backward_runs == (op.length == 1 ? 0 : 3));  // a single token's is refused
  }
}

TEST_CASE("what cuDNN does not have runs on our kernels", "[device]") {
  const fresh_counts none;
  const auto stays = [](const auto& p, double tolerance) {
    p.go();
    CHECK(p.distance() < tolerance);
  };
  stays(passes<bfloat16>({1, 9, 2, 20}), 1e-2);   // no multiple of 8
  stays(passes<bfloat16>({1, 9, 1, 136}), 1e-2);  // wider than 128
  stays(passes<float>({2, 9, 2, 16}), 1e-5);
  const passes<double> doubles({1, 9, 2, 16});
  doubles.go();
  passes<bfloat16>({0, 9, 2, 16}).go(), passes<bfloat16>({2, 0, 2, 16}).go();
  const auto queue = engine::cuda{}.start();
  stays(passes<bfloat16>({1, 9, 2, 16}, queue.beside()), 1e-2);  // a stream that has no workspace

  const causal_attention op{1, 9, 1, 64};
  auto values = test::normal_values<bfloat16>(op.length * 3 * op.width(), 1);
  values.insert(values.begin(), bfloat16(0));
  const test::on_device<bfloat16> shifted(values);
  const passes<bfloat16> right(op);
  forward(right.queue, op, static_cast<const bfloat16*>(shifted.data() + 1), right.out.data(), right.sums.data(), static_cast<bfloat16*>(nullptr));
  CHECK((cudnn().forward_runs == 0 && cudnn().backward_runs == 0));
  right.go_backward();
  CHECK(cudnn().backward_runs == 1);
  CHECK(right.distance() < 1e-2);
}

TEST_CASE("cuDNN continues our forward pass and we continue cuDNN's", "[device]") {
  const causal_attention op{2, 37, 2, 64};
  for (const bool ours_first : {true, false}) {
    CAPTURE(ours_first);
    const fresh_counts none;
    const passes<bfloat16> p(op);
    const auto ours = [&](bool back) {
      if (back) device::attention::launch_matrix_backward<64>(p.queue, op, p.in(), static_cast<const bfloat16*>(p.out.data()), static_cast<const float*>(p.sums.data()),
                                                              static_cast<const bfloat16*>(p.dout.data()), p.dqkv.data());
      else device::attention::launch_matrix_forward<64>(p.queue, op, p.in(), p.out.data(), p.sums.data());
    };
    if (ours_first) ours(false), p.go_backward();
    else p.go_forward(), ours(true);
    CHECK(cudnn().forward_runs + cudnn().backward_runs == 1);
    CHECK(p.distance() < 1e-2);
  }
}

TEST_CASE("a shape's plan is built once, and then nothing is allocated", "[device]") {
  const fresh_counts none;
  {
    const auto queue = engine::cuda{}.start();
    const passes<bfloat16> a({2, 40, 2, 16}, queue), b({2, 20, 2, 16}, queue), c({1, 200, 2, 16}, queue);
    a.go(), b.go(), c.go_forward();
    CHECK(cudnn().built == 5);
    const long before = emulated::allocations;
    a.go(), b.go(), c.go_forward();
    CHECK(emulated::allocations == before);
    CHECK(cudnn().built == 5);
    CHECK((cudnn().forward_runs == 6 && cudnn().backward_runs == 4));
    // The larger backward pass brings the first workspace that the smaller one's is not large enough for; both stay where they are.
    c.go_backward();
    CHECK(emulated::allocations == before + 1);
    a.go(), c.go();
    CHECK(emulated::allocations == before + 1);
    CHECK(a.distance() < 1e-2);
    CHECK(c.distance() < 1e-2);
    CHECK(cudnn().handles == 1);
  }
  CHECK(cudnn().handles == 0);
}

TEST_CASE("cuDNN's passes are captured and run again", "[device]") {
  const fresh_counts none;
  const causal_attention op{2, 33, 2, 16};
  const auto queue = engine::cuda{}.start();
  passes<bfloat16> p(op, queue);
  p.go();  // builds the plans
  engine::cuda_graph graph;
  queue.capture(graph, [&] { p.go(); });
  CHECK((cudnn().forward_runs == 1 && cudnn().backward_runs == 1));
  p.qkv_values = test::normal_values<bfloat16>(p.qkv_values.size(), 3), p.qkv.set(p.qkv_values);
  queue.launch(graph), queue.wait();
  CHECK((cudnn().forward_runs == 2 && cudnn().backward_runs == 2));
  CHECK(p.distance() < 1e-2);
}

TEST_CASE("what cuDNN refuses runs on our kernels, and can be seen", "[device]") {
  const fresh_counts none;
  const causal_attention op{1, 33, 2, 64};
  const auto queue = engine::cuda{}.start();
  const passes<bfloat16> p(op, queue);
  cudnn().refusal = "no engine for this";
  p.go_forward();
  cudnn().refusal = nullptr;
  cudnn().more_workspace = (long(1) << 30) / 32;  // with the 2 x 64 x 128 scores' gradients more than 1/32 of the emulated device
  p.go_backward();
  cudnn().more_workspace = 0;
  CHECK((cudnn().forward_runs == 0 && cudnn().backward_runs == 0));
  CHECK(p.distance() < 1e-2);
  const passes<float16> served({1, 33, 2, 64}, queue);
  served.go_forward();
  const std::string all = device::attention::describe_cudnn(queue);
  CHECK_THAT(all, Contains("forward bfloat16 [1, 33, 2, 64]: own kernels, cuDNN refused: Graph::check_support: no engine for this\n"));
  CHECK_THAT(all, Contains("backward bfloat16 [1, 33, 2, 64]: own kernels, cuDNN refused: its workspace would be 33587200 bytes, more than 33554432\n"));
  CHECK_THAT(all, Contains("forward float16 [1, 33, 2, 64]: cuDNN, emulated_forward\n"));
}

TEST_CASE("a model's attention runs through cuDNN", "[device]") {
  const fresh_counts none;
  const nn::gpt small{.layers = 2, .heads = 2, .width = 32, .context = 12, .vocabulary = 23};
  trainer run{small, optim::adamw{}, engine::cuda{}, precision::bf16_mixed{}};
  run.fit(sequences{}, {.steps = 2, .batch = 4});
  CHECK((cudnn().forward_runs == 4 && cudnn().backward_runs == 4));
}

TEST_CASE("failures of cuDNN name the call", "[device]") {
  const causal_attention op{1, 8, 1, 16};
  cudnn().no_handle = true;
  CHECK_THROWS_WITH(passes<bfloat16>(op).go_forward(), Contains("cudnnCreate at ") && Contains("CUDNN_STATUS_NOT_INITIALIZED"));
  cudnn().no_handle = false;
  cudnn().build_failure = int(cudnn_frontend::error_code_t::CUDA_API_FAILED);
  CHECK_THROWS_WITH(passes<bfloat16>(op).go_forward(), Contains("Graph::build_plans at ") && Contains("provoked"));
  cudnn().build_failure = 0;
  cudnn().no_execution = true;
  CHECK_THROWS_WITH(passes<bfloat16>(op).go(), Contains("Graph::execute at ") && Contains("provoked"));
  cudnn().no_execution = false;
  CHECK(cudnn().handles == 0);
}

TEST_CASE("a context keeps one object of a type", "[device]") {
  struct counted {
    explicit counted(const engine::cuda_context& context) : own(&context) {}
    const engine::cuda_context* own;
  };
  const auto queue = engine::cuda{}.start(), other = engine::cuda{}.start();
  counted& first = queue.context().keep<counted>();
  CHECK(first.own == &queue.context());
  CHECK(&queue.context().keep<counted>() == &first);
  CHECK(&other.context().keep<counted>() != &first);
}
