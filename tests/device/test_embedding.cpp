// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <algorithm>
#include <numeric>

#include <entrain/core/dtype.hpp>
#include <entrain/device/nn/embedding.cuh>
#include <entrain/nn/reference.hpp>

#include "device_test.hpp"

// Embedding on the device, against the plain loops.

using namespace entrain;
using test::on_device;
using test::plain;
using test::queue;

namespace {

// Some ids occur often, most seldom.
std::vector<std::int32_t> some_ids(std::size_t rows, std::size_t vocabulary) {
  const random_stream random(7, purpose::user, 3);
  std::vector<std::int32_t> ids(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    const double u = double(random.uniform(r));
    ids[r] = std::int32_t(std::min<std::size_t>(std::size_t(u * u * u * double(vocabulary)), vocabulary - 1));
  }
  if (rows > 2) ids[1] = std::int32_t(vocabulary - 1), ids[rows - 1] = 0;
  return ids;
}

template <class T>
void check(nn::ops::embedding op, const std::vector<std::int32_t>& ids, double tolerance, std::size_t skip = 0) {
  CAPTURE(sizeof(T), op.rows, op.width, op.vocabulary, skip);
  const auto table = test::normal_values<T>(op.vocabulary * op.width, 1), dout = test::normal_values<T>(op.rows * op.width + skip, 2);
  const on_device<std::int32_t> d_ids(ids);
  const std::int32_t* const where = d_ids.data();
  const on_device<T> d_table(table), d_dout(dout);
  const auto out = on_device<T>::poisoned(op.rows * op.width + skip);
  std::vector<T> expected(op.rows * op.width);
  forward(plain, op, ids.data(), table.data(), expected.data());
  forward(queue(), op, where, static_cast<const T*>(d_table.data()), out.data() + skip);
  auto result = out.host();
  result.erase(result.begin(), result.begin() + std::ptrdiff_t(skip));
  CHECK(test::distance(result, expected) == 0);

  std::vector<double> gradient(table.begin(), table.end());
  const std::vector<double> e_dout(dout.begin() + std::ptrdiff_t(skip), dout.end());
  backward(plain, op, ids.data(), e_dout.data(), gradient.data());
  std::vector<T> first;
  for (int time = 0; time < 2; ++time) {
    const on_device<T> dtable(table);
    backward(queue(), op, where, static_cast<const T*>(d_dout.data() + skip), dtable.data());
    CHECK(test::distance(dtable.host(), gradient) <= tolerance);
    if (time == 0) first = dtable.host();
    else CHECK(test::distance(dtable.host(), first) == 0);
  }
}

}  // namespace

TEST_CASE("embedding on the device is that of the plain loops", "[device]") {
  for (const std::size_t rows : {0, 1, 130})
    for (const std::size_t width : {1, 8, 264})
      for (const std::size_t vocabulary : {1, 20, 300}) {
        const auto ids = some_ids(rows, vocabulary);
        check<float>({rows, width, vocabulary}, ids, 1e-5);
        check<bfloat16>({rows, width, vocabulary}, ids, 1e-2);
        if (width < 10) check<double>({rows, width, vocabulary}, ids, 1e-12);
      }
  check<float>({33, 8, 20}, some_ids(33, 20), 1e-5, 1);
  check<bfloat16>({2500, 2, 70000}, some_ids(2500, 70000), 1e-2);  // several tiles, three digits
}

TEST_CASE("rows sorted by id keep their order", "[device]") {
  for (const std::size_t vocabulary : {1, 3, 200, 257, 50257, 70000}) {
    const std::size_t rows = 5000;
    const auto ids = some_ids(rows, vocabulary);
    const on_device<std::int32_t> d_ids(ids);
    const auto sorted = device::sort_rows_by_id(queue(), d_ids.data(), rows, vocabulary, queue().context().workspace().data());
    std::vector<unsigned> expected(rows), result(rows);
    std::vector<std::int32_t> keys(rows);
    std::iota(expected.begin(), expected.end(), 0u);
    std::stable_sort(expected.begin(), expected.end(), [&](unsigned a, unsigned b) { return ids[a] < ids[b]; });
    queue().copy(sorted.rows, result.data(), rows);
    queue().copy(sorted.ids, keys.data(), rows);
    queue().wait();
    CAPTURE(vocabulary);
    CHECK(result == expected);
    CHECK(std::equal(keys.begin(), keys.end(), expected.begin(), [&](std::int32_t key, unsigned row) { return key == ids[row]; }));
  }
}
