// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <entrain/core/config.hpp>
#include <entrain/engine/host.hpp>
#include <entrain/nn/host/gemm.hpp>
#include <entrain/nn/ops.hpp>

#if ENTRAIN_WITH_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#if defined(_OPENMP)
#include <omp.h>
#endif
#endif

// Which matrix product runs: oneDNN's for float when the target entrain::onednn is linked, else the one of host/gemm.hpp.
// On AVX-512 the two lie within a tenth of each other; compiled for a lesser processor oneDNN's still uses all of it.

namespace entrain::nn::host::detail {

#if ENTRAIN_WITH_ONEDNN
// The calling thread's OpenMP width for as long as it lives: ranks that are threads do not start more threads than asked.
class openmp_width {
 public:
#if defined(_OPENMP)
  explicit openmp_width(int threads) : before_(omp_get_max_threads()) {
    if (threads != before_) omp_set_num_threads(threads);
    changed_ = threads != before_;
  }
  ~openmp_width() {
    if (changed_) omp_set_num_threads(before_);
  }
  openmp_width(const openmp_width&) = delete;
  openmp_width& operator=(const openmp_width&) = delete;

 private:
  int before_;
  bool changed_ = false;
#else
  explicit openmp_width(int) {}
#endif
};
#endif

}  // namespace entrain::nn::host::detail

namespace entrain::nn::ops {

template <class T>
void run(const engine::host&, const gemm& d, const T* a, const T* b, T* c) {
  nn::host::multiply(d, a, b, c);
}

#if ENTRAIN_WITH_ONEDNN
inline void run(const engine::host& engine, const gemm& d, const float* a, const float* b, float* c) {
  const bool strides_hold = d.lda >= std::max<std::size_t>(1, d.transpose_a ? d.m : d.k) && d.ldb >= std::max<std::size_t>(1, d.transpose_b ? d.k : d.n) && d.ldc >= d.n;
  if (d.m == 0 || d.n == 0 || d.k == 0 || !strides_hold) return nn::host::multiply(d, a, b, c);
  const nn::host::detail::openmp_width width(std::max(1, engine.threads));
  const auto status = dnnl_sgemm(d.transpose_a ? 'T' : 'N', d.transpose_b ? 'T' : 'N', dnnl_dim_t(d.m), dnnl_dim_t(d.n), dnnl_dim_t(d.k), d.alpha, a,
                                 dnnl_dim_t(d.lda), b, dnnl_dim_t(d.ldb), d.beta, c, dnnl_dim_t(d.ldc));
  if (status != dnnl_success) nn::host::multiply(d, a, b, c);
}
#endif

// The bias joins the product in registers, except for weights so large that oneDNN's product wins by more than that pass.
template <class T>
void run(const engine::host& engine, const affine& d, const T* in, const T* weight, const T* bias, T* out) {
  const gemm product{false, false, d.rows, d.outputs, d.inputs, d.inputs, d.outputs, d.outputs, 1, 0};
#if ENTRAIN_WITH_ONEDNN
  constexpr bool registers_fit = nn::host::vector_bytes == 64;
  if (std::is_same_v<T, float> && (!registers_fit || engine.threads > 1 || d.inputs * d.outputs > (std::size_t(1) << 18))) {
    for (std::size_t r = 0; r < d.rows; ++r) std::copy_n(bias, d.outputs, out + r * d.outputs);
    auto sum = product;
    sum.beta = 1;
    return run(engine, sum, in, weight, out);
  }
#else
  (void)engine;
#endif
  nn::host::multiply(product, in, weight, out, bias);
}

}  // namespace entrain::nn::ops
