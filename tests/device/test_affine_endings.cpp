// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <type_traits>
#include <vector>

#include <entrain/device/nn/affine_endings.cuh>
#include <entrain/nn/detail/dispatch.hpp>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// A linear layer together with its neighbours, against the plain steps one by one: at widths that products with endings take and at those
// that they refuse, at addresses that are not aligned, with gradients that are added to others.

using namespace entrain;
using test::exact;
using test::on_device;
using test::plain;
using test::queue;
namespace ops = nn::ops;

namespace {

// A matrix on the device that begins `skip` elements after an aligned address, and the same for the plain steps.
template <class T>
struct matrix {
  std::size_t skip;
  on_device<T> memory;
  std::vector<exact<T>> values;

  matrix(std::size_t n, std::uint32_t stream, std::size_t s) : skip(s), memory(on_device<T>::poisoned(n + s)), values(n) {
    const auto x = test::normal_values<T>(n + s, stream);
    memory.set(x);
    values.assign(x.begin() + std::ptrdiff_t(s), x.end());
  }
  explicit matrix(std::size_t n, std::size_t s) : skip(s), memory(on_device<T>::poisoned(n + s)), values(n) {}
  T* at() const { return memory.data() + skip; }
  const T* read() const { return at(); }
  double error() const {
    auto found = memory.host();
    found.erase(found.begin(), found.begin() + std::ptrdiff_t(skip));
    return test::distance(found, values);
  }
};

template <class T>
void check(std::size_t rows, std::size_t inputs, std::size_t outputs, std::size_t skip, double tolerance) {
  CAPTURE(sizeof(T), rows, inputs, outputs, skip);
  const matrix<T> in(rows * inputs, 1, skip), weight(inputs * outputs, 2, skip), bias(outputs, 3, skip), dout(rows * outputs, 4, skip);
  const auto pointer = [](const matrix<T>& m) { return m.values.data(); };

  matrix<T> kept(rows * outputs, skip), out(rows * outputs, skip);
  run(queue(), ops::affine_gelu{rows, inputs, outputs}, in.read(), weight.read(), bias.read(), kept.at(), out.at());
  nn::op::do_affine_gelu(plain, ops::affine_gelu{rows, inputs, outputs}, pointer(in), pointer(weight), pointer(bias), kept.values.data(), out.values.data());
  CHECK(kept.error() <= tolerance);
  CHECK(out.error() <= tolerance);

  const matrix<T> before(rows * inputs, 5, skip);
  matrix<T> din(rows * inputs, skip);
  run(queue(), ops::affine_gelu_slope{rows, inputs, outputs}, dout.read(), weight.read(), before.read(), din.at());
  nn::op::do_affine_gelu_slope(plain, ops::affine_gelu_slope{rows, inputs, outputs}, pointer(dout), pointer(weight), pointer(before), din.values.data());
  CHECK(din.error() <= tolerance);

  for (const bool accumulate : {false, true}) {
    CAPTURE(accumulate);
    auto dweight = accumulate ? matrix<T>(inputs * outputs, 6, skip) : matrix<T>(inputs * outputs, skip), dbias = accumulate ? matrix<T>(outputs, 7, skip) : matrix<T>(outputs, skip);
    run(queue(), ops::affine_gradient{rows, inputs, outputs, accumulate}, in.read(), dout.read(), dweight.at(), dbias.at());
    nn::op::do_affine_gradient(plain, ops::affine_gradient{rows, inputs, outputs, accumulate}, pointer(in), pointer(dout), dweight.values.data(), dbias.values.data());
    CHECK(dweight.error() <= tolerance);
    CHECK(dbias.error() <= tolerance);
  }
}

}  // namespace

TEST_CASE("a linear layer with its neighbours is what its parts are", "[device]") {
  struct sizes { std::size_t rows, inputs, outputs; };
  for (const auto [rows, inputs, outputs] : {sizes{1, 1, 1}, {33, 8, 16}, {5, 64, 24}, {20, 24, 13}, {7, 160, 144}, {0, 8, 8}, {3, 0, 8}, {3, 8, 0}})
    for (const std::size_t skip : {0, 1}) {
      check<float>(rows, inputs, outputs, skip, 1e-5);
      check<bfloat16>(rows, inputs, outputs, skip, 2e-2);
    }
  check<double>(9, 16, 24, 0, 1e-12);
  check<float16>(9, 16, 24, 0, 4e-3);
}

#if !defined(__CUDACC__)
TEST_CASE("what is one product runs as one", "[device]") {
  const std::size_t rows = 4, inputs = 160, outputs = 256;
  const matrix<bfloat16> in(rows * inputs, 1, 0), weight(inputs * outputs, 2, 0), bias(outputs, 3, 0), kept(rows * outputs, 0), out(rows * outputs, 0), dbias(outputs, 0), dweight(inputs * outputs, 0);
  const auto q = engine::cuda{}.start();
  const auto launched = [](auto&& f) {
    const long before = emulated::launches;
    f();
    return emulated::launches - before;
  };
  CHECK(launched([&] { run(q, ops::affine_gelu{rows, inputs, outputs}, in.read(), weight.read(), bias.read(), kept.at(), out.at()); }) == 0);
  CHECK(launched([&] { run(q, ops::affine_gelu_slope{rows, inputs, outputs}, out.read(), weight.read(), in.read(), in.at()); }) == 0);
  CHECK(launched([&] { run(q, ops::affine_gradient{rows, inputs, outputs, false}, in.read(), out.read(), dweight.at(), dbias.at()); }) == 0);
  CHECK(launched([&] { run(q, ops::affine_gradient{rows, inputs, outputs, true}, in.read(), out.read(), dweight.at(), dbias.at()); }) > 0);
}
#endif
