// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstddef>
#include <vector>

#include <entrain/core/small_float.hpp>
#include <entrain/device/optim/add.cuh>

#include "device_test.hpp"

// Sums of two arrays, as an exchange over messages of device memory makes them (parallel/device_sum.hpp).

using namespace entrain;

namespace {

// The sum of pieces that begin at `from`, in memory of its own or in either operand's.
template <class T>
void check(std::size_t n, std::size_t from) {
  const auto engine = engine::cuda{}.start();
  const auto a = test::normal_values<T>(from + n, 1), b = test::normal_values<T>(from + n, 2);
  std::vector<T> expected(n);
  for (std::size_t i = 0; i < n; ++i) expected[i] = T(device::arithmetic<T>(a[from + i]) + device::arithmetic<T>(b[from + i]));
  const test::on_device<T> left(a), right(b);
  const auto sum = test::on_device<T>::poisoned(from + n);
  const auto found = [&](const test::on_device<T>& where) {
    const auto all = where.host();
    return std::vector<T>(all.begin() + std::ptrdiff_t(from), all.end());
  };
  const auto same = [&](const std::vector<T>& x) {
    bool all = x.size() == n;
    for (std::size_t i = 0; all && i < n; ++i) all = double(x[i]) == double(expected[i]);
    return all;
  };
  add(engine, static_cast<const T*>(left.data() + from), static_cast<const T*>(right.data() + from), sum.data() + from, n);
  CHECK(same(found(sum)));
  add(engine, static_cast<const T*>(left.data() + from), static_cast<const T*>(right.data() + from), left.data() + from, n);
  CHECK(same(found(left)));
  const test::on_device<T> again(a);
  add(engine, static_cast<const T*>(again.data() + from), static_cast<const T*>(right.data() + from), right.data() + from, n);
  CHECK(same(found(right)));
}

}  // namespace

TEST_CASE("sums of pieces that begin anywhere", "[device]") {
  for (const std::size_t n : {0, 1, 7, 1000, 30011})
    for (const std::size_t from : {0, 3, 8}) {
      check<float>(n, from);
      check<double>(n, from);
      check<bfloat16>(n, from);
      check<float16>(n, from);
    }
}
