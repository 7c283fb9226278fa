// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <type_traits>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>
#include <entrain/engine/cuda/error.hpp>

// Matrix products by cuBLASLt for row-major matrices. What the library must know of a product (layouts, the algorithm that its
// heuristic picks) is made at the first call of a shape and kept: later calls allocate nothing and ask nothing.
//
// cuBLASLt thinks in columns: a row-major matrix is its transpose there, so C = A B is asked for as C' = B' A'.

namespace entrain::engine {

inline void blas_check(cublasStatus_t status, const char* call, source_place where = source_place::here()) {
  if (status != CUBLAS_STATUS_SUCCESS) throw_cuda_error(call, std::string(cublasLtGetStatusName(status)) + ": " + cublasLtGetStatusString(status), where);
}

// C[m, n] = alpha * op(A) * op(B) + beta * C (+ a bias a column); ld*: row strides in elements.
struct product_shape {
  cudaDataType_t type = CUDA_R_32F, out_type = CUDA_R_32F;
  bool transpose_a = false, transpose_b = false, has_bias = false, tensor_float = false;
  std::int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldc = 0;
  unsigned alignment = 256;  // bytes, the least of the operands'

  friend bool operator==(const product_shape&, const product_shape&) = default;
};

template <class T>
constexpr cudaDataType_t blas_type() {
  if constexpr (std::is_same_v<T, float>) return CUDA_R_32F;
  else if constexpr (std::is_same_v<T, double>) return CUDA_R_64F;
  else if constexpr (std::is_same_v<T, bfloat16>) return CUDA_R_16BF;
  else {
    static_assert(std::is_same_v<T, float16>, "matrix products are of float, double, bfloat16 or float16");
    return CUDA_R_16F;
  }
}

inline unsigned alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const auto lowest = address & (~address + 1);
  return address == 0 || lowest > 256 ? 256u : unsigned(lowest);
}

// One shape, ready to run.
class blas_plan {
 public:
  blas_plan(cublasLtHandle_t blas, const product_shape& shape, std::size_t workspace) : shape_(shape) {
    const bool is_double = shape.type == CUDA_R_64F;
    const cublasComputeType_t compute = is_double ? CUBLAS_COMPUTE_64F : shape.tensor_float && shape.type == CUDA_R_32F ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    blas_check(cublasLtMatmulDescCreate(&how_, compute, is_double ? CUDA_R_64F : CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (shape.has_bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, shape.out_type);
    }
    first_ = layout(shape.type, shape.transpose_b ? shape.k : shape.n, shape.transpose_b ? shape.n : shape.k, shape.ldb);
    second_ = layout(shape.type, shape.transpose_a ? shape.m : shape.k, shape.transpose_a ? shape.k : shape.m, shape.lda);
    result_ = layout(shape.out_type, shape.n, shape.m, shape.ldc);
    choose(blas, workspace);
  }
  blas_plan(const blas_plan&) = delete;
  ~blas_plan() {
    for (const auto l : {first_, second_, result_})
      if (l) (void)cublasLtMatrixLayoutDestroy(l);
    if (how_) (void)cublasLtMatmulDescDestroy(how_);
  }

  const product_shape& shape() const { return shape_; }

  // alpha and beta: of the type that sums are taken in.
  void run(cublasLtHandle_t blas, cudaStream_t stream, const void* alpha, const void* a, const void* b, const void* beta, void* c, const void* bias, void* workspace,
           std::size_t workspace_bytes) {
    if (shape_.has_bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    blas_check(cublasLtMatmul(blas, how_, alpha, b, first_, a, second_, beta, c, result_, c, result_, &algorithm_, workspace, workspace_bytes, stream), "cublasLtMatmul");
  }

 private:
  template <class V>
  void set(cublasLtMatmulDescAttributes_t what, const V& value) {
    blas_check(cublasLtMatmulDescSetAttribute(how_, what, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  static cublasLtMatrixLayout_t layout(cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t ld) {
    cublasLtMatrixLayout_t made = nullptr;
    blas_check(cublasLtMatrixLayoutCreate(&made, type, std::uint64_t(rows), std::uint64_t(columns), ld), "cublasLtMatrixLayoutCreate");
    return made;
  }
  void choose(cublasLtHandle_t blas, std::size_t workspace) {
    cublasLtMatmulPreference_t wish = nullptr;
    blas_check(cublasLtMatmulPreferenceCreate(&wish), "cublasLtMatmulPreferenceCreate");
    const auto ask = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
      blas_check(cublasLtMatmulPreferenceSetAttribute(wish, what, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
    };
    ask(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t(workspace));
    for (const auto what : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      ask(what, std::uint32_t(shape_.alignment));
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(blas, how_, first_, second_, result_, result_, wish, 1, &best, &found);
    (void)cublasLtMatmulPreferenceDestroy(wish);
    blas_check(status, "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0) blas_check(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic");
    algorithm_ = best.algo;
  }

  product_shape shape_;
  cublasLtMatmulDesc_t how_ = nullptr;
  cublasLtMatrixLayout_t first_ = nullptr, second_ = nullptr, result_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
};

// The plans of a context. A model has some tens of shapes: looking through them costs less than starting a kernel.
class blas_plans {
 public:
  blas_plan& of(cublasLtHandle_t blas, const product_shape& shape, std::size_t workspace) {
    for (auto& plan : plans_)
      if (plan.shape() == shape) return plan;
    return plans_.emplace_back(blas, shape, workspace);
  }
  std::size_t size() const { return plans_.size(); }

 private:
  std::list<blas_plan> plans_;
};

}  // namespace entrain::engine
