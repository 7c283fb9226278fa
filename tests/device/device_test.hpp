// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include <entrain/core/memory.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/engine/cuda.hpp>
#include <entrain/engine/host.hpp>

// What tests of kernels share: host vectors with a copy on the device, random values, comparison.

namespace entrain::test {

// One queue for all tests of a program, and the plain loops that are the truth for its kernels.
inline const engine::cuda_queue& queue() {
  static const engine::cuda_queue q = engine::cuda{}.start();
  return q;
}
constexpr engine::reference plain;

// 16-bit types are held against the plain loops in float on the same (rounded) values.
template <class T>
using exact = std::conditional_t<(sizeof(T) < 4), float, T>;
template <class T>
std::vector<exact<T>> as_exact(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}

// A copy on the device of what it is made from.
template <class T>
class on_device {
 public:
  explicit on_device(const std::vector<T>& values) : memory_(values.size()) { set(values); }
  // Poisoned: what a kernel must overwrite.
  static on_device poisoned(std::size_t n) {
    if constexpr (std::is_integral_v<T>) return on_device(std::vector<T>(n, std::numeric_limits<T>::max()));
    else return on_device(std::vector<T>(n, T(std::numeric_limits<float>::quiet_NaN())));
  }
  static on_device zeros(std::size_t n) { return on_device(std::vector<T>(n, T(0))); }

  T* data() const { return memory_.data(); }
  std::size_t size() const { return memory_.size(); }
  void set(const std::vector<T>& values) {
    if (!values.empty()) engine::cuda_check(cudaMemcpy(memory_.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  // Waits for all that the device has been given.
  std::vector<T> host() const {
    engine::cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    std::vector<T> out(memory_.size());
    if (!out.empty()) engine::cuda_check(cudaMemcpy(out.data(), memory_.data(), out.size() * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return out;
  }

 private:
  buffer<T, cuda_space> memory_;
};

template <class T>
const T* constant(const on_device<T>& memory) {
  return memory.data();
}

// Standard normal values times `scale`, the same for every type up to its rounding.
template <class T>
std::vector<T> normal_values(std::size_t n, std::uint32_t stream = 0, double scale = 1) {
  const random_stream random(7, purpose::user, stream);
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = T(float(scale * random.normal(i)));
  return out;
}

// Largest |a - b| over the largest |b| (1 where all are smaller); infinite where a NaN stands or the sizes differ.
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double most = 0, scale = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = double(a[i]), y = double(b[i]);
    if (std::isnan(x) != std::isnan(y)) return std::numeric_limits<double>::infinity();
    if (std::isnan(x)) continue;
    most = std::fmax(most, std::fabs(x - y)), scale = std::fmax(scale, std::fabs(y));
  }
  return most / scale;
}

}  // namespace entrain::test
