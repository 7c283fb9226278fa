// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>
#include <entrain/device/nn/softmax_cross_entropy.cuh>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// Softmax cross-entropy on the device, against the plain loops.

using namespace entrain;
using nn::ops::softmax_cross_entropy;
using test::exact;
using test::on_device;
using test::plain;
using test::queue;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<std::int32_t> some_targets(const softmax_cross_entropy& op) {
  std::vector<std::int32_t> targets(op.rows);
  for (std::size_t r = 0; r < op.rows; ++r) targets[r] = r % 5 == 3 ? -1 : std::int32_t((r * 7919 + 3) % op.classes);
  return targets;
}

// Rows begin `skip` elements behind an aligned place. Where: the gradient goes to the logits, beside them, or to where packs do not fit.
enum class where { same, beside, misaligned };

template <class T>
void check(softmax_cross_entropy op, const std::vector<T>& logits, const std::vector<std::int32_t>& targets, double tolerance, where to, std::size_t skip = 0) {
  CAPTURE(sizeof(T), op.rows, op.classes, int(to), skip);
  using E = exact<T>;
  const std::vector<E> e_logits(logits.begin(), logits.end());
  std::vector<E> e_gradient(logits.size());
  const loss_sum expected = forward_backward(plain, op, e_logits.data(), targets.data(), e_gradient.data());

  auto shifted = logits;
  shifted.insert(shifted.begin(), skip, T(0));
  const on_device<std::int32_t> d_targets(targets);
  loss_sum first;
  for (int time = 0; time < 2; ++time) {
    const on_device<T> d_logits(shifted);
    const auto other = on_device<T>::poisoned(logits.size() + skip + 1);
    T* gradient = to == where::same ? d_logits.data() + skip : other.data() + skip + (to == where::misaligned ? 1 : 0);
    const std::int32_t* answers = d_targets.data();
    const loss_sum alone = forward(queue(), op, static_cast<const T*>(d_logits.data() + skip), answers);
    const loss_sum loss = forward_backward(queue(), op, static_cast<const T*>(d_logits.data() + skip), answers, gradient);
    CHECK(alone.sum == Approx(loss.sum).epsilon(1e-6));  // in another order where packs do not fit
    CHECK(loss.sum == Approx(expected.sum).epsilon(sizeof(T) == 8 ? 1e-12 : 1e-5));
    CHECK(loss.count == expected.count);
    CHECK(loss.correct == expected.correct);
    auto result = (to == where::same ? d_logits : other).host();
    result.erase(result.begin(), result.begin() + (gradient - (to == where::same ? d_logits : other).data()));
    result.resize(logits.size());
    CHECK(test::distance(result, e_gradient) <= tolerance);
    if (time == 0) first = loss;
    else CHECK(loss.sum == first.sum);
  }
}

template <class T>
void check(softmax_cross_entropy op, double tolerance) {
  const auto logits = test::normal_values<T>(op.rows * op.classes, 1, 4);
  const auto targets = some_targets(op);
  for (const where to : {where::same, where::beside, where::misaligned}) check(op, logits, targets, tolerance, to);
  check(op, logits, targets, tolerance, where::same, 1);
}

}  // namespace

TEST_CASE("cross-entropy on the device is that of the plain loops", "[device]") {
  for (const std::size_t classes : {1, 2, 10, 33, 1000}) {
    check<float>({5, classes}, 1e-5);
    check<bfloat16>({5, classes}, 1e-2);
    check<double>({5, classes}, 1e-12);
    check<float>({5, classes, 1000}, 1e-5);
    check<binary16>({5, classes, 1000}, 2e-3);
  }
  const softmax_cross_entropy many{2100, 2}, wide{2, 5003};  // more rows than blocks; more classes than a block's packs
  check(many, test::normal_values<double>(many.rows * many.classes, 1), some_targets(many), 1e-12, where::same);
  check(wide, test::normal_values<float>(wide.rows * wide.classes, 1, 4), some_targets(wide), 1e-5, where::same);
  CHECK(forward(queue(), softmax_cross_entropy{0, 10}, static_cast<const float*>(nullptr), static_cast<const std::int32_t*>(nullptr)).count == 0);
}

TEST_CASE("cross-entropy: ties go to the first class, excluded classes have no weight, far logits do not overflow", "[device]") {
  const softmax_cross_entropy op{5, 300};
  std::vector<float> logits(op.rows * op.classes, 1.0f);                                   // row 0: all the same
  for (std::size_t j = 0; j < 299; ++j) logits[300 + j] = -infinity;                        // row 1: one class left
  logits[2 * 300 + 40] = logits[2 * 300 + 170] = 9, logits[3 * 300 + 40] = logits[3 * 300 + 170] = 9;  // rows 2, 3: two largest
  for (std::size_t j = 0; j < 300; ++j) logits[4 * 300 + j] = j % 2 ? 1e6f : -1e6f;
  for (const where to : {where::same, where::beside}) {
    check<float>(op, logits, {0, 299, 40, 170, 1}, 1e-5, to);
    check<float>(op, logits, {299, 299, 170, 40, 3}, 1e-5, to);
  }
}

TEST_CASE("cross-entropy of a logit that is no number is no number", "[device]") {
  for (const std::size_t place : {0, 3, 8, 299}) {
    std::vector<float> logits(300, 0.5f);
    logits[place] = std::numeric_limits<float>::quiet_NaN();
    const on_device<float> d_logits(logits);
    const on_device<std::int32_t> target(std::vector<std::int32_t>{5});
    CHECK(std::isnan(forward(queue(), softmax_cross_entropy{1, 300}, static_cast<const float*>(d_logits.data()), static_cast<const std::int32_t*>(target.data())).sum));
  }
}
