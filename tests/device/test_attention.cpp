// SPDX-License-Identifier: Apache-2.0
// entrain-test: computes
#include "../catch.hpp"

#include <cstring>
#include <string>
#include <vector>

#include <entrain/core/small_float.hpp>
#include <entrain/device/nn/attention.cuh>
#include <entrain/nn/reference/attention.hpp>

#include "device_test.hpp"

using namespace entrain;
using nn::ops::causal_attention;

namespace {

template <class T>
struct attention_results {
  std::vector<T> out, dqkv;
  std::vector<nn::ops::statistic<T>> normaliser;
};

template <class T>
attention_results<T> on_the_device(const causal_attention& op, const std::vector<T>& qkv, const std::vector<T>& dout) {
  const auto queue = engine::cuda{}.start();
  const test::on_device<T> in(qkv), dy(dout);
  const auto out = test::on_device<T>::poisoned(dout.size()), dqkv = test::on_device<T>::poisoned(qkv.size());
  const auto normaliser = test::on_device<nn::ops::statistic<T>>::poisoned(op.batch * op.heads * op.length);
  T* const no_workspace = nullptr;
  forward(queue, op, static_cast<const T*>(in.data()), out.data(), normaliser.data(), no_workspace);
  backward(queue, op, static_cast<const T*>(in.data()), static_cast<const T*>(out.data()), static_cast<const nn::ops::statistic<T>*>(normaliser.data()),
           static_cast<const T*>(dy.data()), dqkv.data(), no_workspace);
  queue.wait();
  return {out.host(), dqkv.host(), normaliser.host()};
}

// The reference in R (float or double) from the same inputs; its backward pass sees its own output, unrounded.
template <class R, class T>
attention_results<R> by_reference(const causal_attention& op, const std::vector<T>& qkv, const std::vector<T>& dout) {
  const std::vector<R> in(qkv.begin(), qkv.end()), dy(dout.begin(), dout.end());
  attention_results<R> results{std::vector<R>(dout.size()), std::vector<R>(qkv.size()), std::vector<R>(op.batch * op.heads * op.length)};
  std::vector<R> workspace(op.workspace_size());
  const engine::reference truth;
  forward(truth, op, in.data(), results.out.data(), results.normaliser.data(), workspace.data());
  backward(truth, op, in.data(), results.out.data(), results.normaliser.data(), dy.data(), results.dqkv.data(), workspace.data());
  return results;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// Gradients of queries, keys and values are compared apart: their sizes differ.
template <class T>
std::vector<T> part(const causal_attention& op, const std::vector<T>& dqkv, std::size_t which) {
  std::vector<T> out;
  for (std::size_t r = 0; r < op.batch * op.length; ++r) {
    const auto first = dqkv.begin() + std::ptrdiff_t((3 * r + which) * op.width());
    out.insert(out.end(), first, first + std::ptrdiff_t(op.width()));
  }
  return out;
}

template <class T, class R>
void compare(const causal_attention& op, double tolerance, bool twice = false, double spread = 1) {
  CAPTURE(op.batch, op.length, op.heads, op.head_width, sizeof(T));
  const auto qkv = test::normal_values<T>(op.batch * op.length * 3 * op.width(), 1, spread);
  const auto dout = test::normal_values<T>(op.batch * op.length * op.width(), 2);
  const auto ours = on_the_device(op, qkv, dout);
  const auto truth = by_reference<R>(op, qkv, dout);
  CHECK(test::distance(ours.out, truth.out) < tolerance);
  CHECK(test::distance(ours.normaliser, truth.normaliser) < tolerance);
  // One key has probability 1 whatever its score: gradients of scores are then nothing but rounding, and only their smallness counts.
  const double floor = op.length == 1 ? 1 : 0;
  for (std::size_t which = 0; which < 3; ++which) {
    auto mine = part(op, ours.dqkv, which);
    auto theirs = part(op, truth.dqkv, which);
    mine.push_back(T(float(floor))), theirs.push_back(R(floor));
    CAPTURE(which);
    CHECK(test::distance(mine, theirs) < tolerance);
  }
  if (!twice) return;
  const auto again = on_the_device(op, qkv, dout);
  CHECK(same_bits(ours.out, again.out));
  CHECK(same_bits(ours.dqkv, again.dqkv));
  CHECK(same_bits(ours.normaliser, again.normaliser));
}

}  // namespace

TEST_CASE("plain attention equals the reference", "[device]") {
  for (const std::size_t length : {0, 1, 5, 33, 70}) {
    compare<float, float>({2, length, 2, 16}, 1e-5, length == 33);
    compare<double, double>({1, length, 2, 5}, 1e-12);
  }
  compare<float, float>({1, 65, 3, 64}, 1e-5);
  compare<float, float>({0, 4, 2, 8}, 1e-5);
}

TEST_CASE("plain attention of 16-bit rows with odd heads", "[device]") {
  compare<bfloat16, float>({2, 37, 3, 7}, 1e-2, true);
  compare<float16, float>({1, 37, 2, 1}, 2e-3);
}

TEST_CASE("wide heads take smaller tiles, and too wide ones are refused", "[device]") {
  compare<float, float>({1, 20, 1, 200}, 1e-5);
  compare<double, double>({1, 9, 2, 200}, 1e-12);
  compare<double, double>({1, 5, 1, 400}, 1e-12);
  const auto queue = engine::cuda{}.start();
  float nothing = 0;
  CHECK_THROWS_WITH(forward(queue, causal_attention{1, 1, 1, 2000}, static_cast<const float*>(&nothing), &nothing, &nothing, &nothing),
                    Catch::Matchers::Contains("too wide"));
}

TEST_CASE("attention on tensor cores equals the reference", "[device]") {
  for (const std::size_t length : {0, 1, 5, 64}) compare<bfloat16, float>({2, length, 2, 64}, 1e-2);
  compare<bfloat16, float>({2, 65, 1, 64}, 1e-2, true);
  compare<bfloat16, float>({1, 130, 2, 64}, 1e-2);
  compare<bfloat16, float>({2, 33, 1, 128}, 1e-2, true);
  compare<bfloat16, float>({1, 130, 1, 128}, 1e-2);
  compare<float16, float>({1, 70, 1, 64}, 2e-3);
  compare<bfloat16, float>({1, 70, 1, 32}, 1e-2);
  compare<bfloat16, float>({1, 70, 1, 96}, 1e-2);
}

#if defined(ENTRAIN_CUDNN)
TEST_CASE("cuDNN has the shapes of usual models", "[device]") {
  const auto queue = engine::cuda{}.start();
  for (const causal_attention op : {causal_attention{2, 256, 2, 64}, causal_attention{1, 200, 1, 128}}) {
    const test::on_device<bfloat16> qkv(test::normal_values<bfloat16>(op.length * op.batch * 3 * op.width())), out(std::vector<bfloat16>(op.length * op.batch * op.width()));
    const auto dqkv = test::on_device<bfloat16>::poisoned(qkv.size());
    const test::on_device<float> normaliser(std::vector<float>(op.batch * op.heads * op.length));
    const bfloat16* const in = qkv.data();
    const bfloat16* const y = out.data();
    bfloat16* const no_workspace = nullptr;
    forward(queue, op, in, out.data(), normaliser.data(), no_workspace);
    backward(queue, op, in, y, static_cast<const float*>(normaliser.data()), y, dqkv.data(), no_workspace);
  }
  queue.wait();
  const std::string ran = device::attention::describe_cudnn(queue);
  WARN(ran);
  CHECK_THAT(ran, !Catch::Matchers::Contains("own kernels"));
}
#endif

TEST_CASE("scores of very different sizes neither overflow nor lose the small ones", "[device]") {
  compare<bfloat16, float>({1, 70, 1, 64}, 2e-2, false, 5);  // dout . v - dout . out cancels, and out is rounded
  compare<float, float>({1, 70, 1, 16}, 1e-5, false, 5);
}

TEST_CASE("rows that are not aligned to 16 bytes are computed all the same", "[device]") {
  const causal_attention op{1, 9, 1, 64};
  const auto queue = engine::cuda{}.start();
  auto qkv = test::normal_values<bfloat16>(op.length * 3 * op.width(), 1);
  const test::on_device<bfloat16> aligned(qkv);
  qkv.insert(qkv.begin(), bfloat16(0));
  const test::on_device<bfloat16> shifted(qkv);
  const auto a = test::on_device<bfloat16>::poisoned(op.length * op.width()), b = test::on_device<bfloat16>::poisoned(op.length * op.width());
  const auto normaliser = test::on_device<float>::poisoned(op.length);
  bfloat16* const no_workspace = nullptr;
  forward(queue, op, static_cast<const bfloat16*>(aligned.data()), a.data(), normaliser.data(), no_workspace);
  forward(queue, op, static_cast<const bfloat16*>(shifted.data() + 1), b.data(), normaliser.data(), no_workspace);
  queue.wait();
  CHECK(test::distance(a.host(), b.host()) < 1e-2);
}
