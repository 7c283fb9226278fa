// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <type_traits>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>
#include <entrain/engine/cuda/error.hpp>

// Matrix products by cuBLASLt for row-major matrices. What the library must know of a product (layouts, the algorithm that its
// heuristic picks) is made at the first call of a shape and kept: later calls allocate nothing and ask nothing. engine/cuda/multiply.hpp calls it.
//
// cuBLASLt thinks in columns: a row-major matrix is its transpose there, so C = A B is asked for as C' = B' A', with n rows and m columns.

namespace entrain::engine {

inline void blas_check(cublasStatus_t status, const char* call, source_place where = source_place::here()) {
  if (status != CUBLAS_STATUS_SUCCESS) throw_cuda_error(call, std::string(cublasLtGetStatusName(status)) + ": " + cublasLtGetStatusString(status), where);
}

template <class T>
constexpr cudaDataType_t blas_type() {
  if constexpr (std::is_same_v<T, float>) return CUDA_R_32F;
  else if constexpr (std::is_same_v<T, double>) return CUDA_R_64F;
  else if constexpr (std::is_same_v<T, bfloat16>) return CUDA_R_16BF;
  else if constexpr (std::is_same_v<T, float8_e4m3>) return CUDA_R_8F_E4M3;
  else if constexpr (std::is_same_v<T, float8_e5m2>) return CUDA_R_8F_E5M2;
  else {
    static_assert(is_half<T>, "matrix products are of float, double, bfloat16, float16, binary16, float8_e4m3 or float8_e5m2");
    return CUDA_R_16F;
  }
}

// Bytes to which a pointer is aligned, 256 at most.
inline unsigned alignment_of(const void* pointer) { return 1u << std::countr_zero(reinterpret_cast<std::uintptr_t>(pointer) | 256u); }

// What is done to a product on its way to memory. x is alpha * op(A) * op(B) + beta * C.
//   bias           C = x + vector                       a number a column
//   bias_gelu      kept = x + vector, C = gelu(kept)    the tanh form
//   gelu_slope     C = x * gelu'(kept)
//   bias_gradient  C = x, vector = sum over k of op(B)
enum class product_ending : std::uint8_t { none, bias, bias_gelu, gelu_slope, bias_gradient };

// C[m, n] = ending(alpha * op(A) * op(B) + beta * C); ld*: row strides in elements; alignments in bytes.
struct product_shape {
  cudaDataType_t type_a = CUDA_R_32F, type_b = CUDA_R_32F, out_type = CUDA_R_32F;
  bool transpose_a = false, transpose_b = false, tensor_float = false, with_workspace = true;
  product_ending ending = product_ending::none;
  std::int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldc = 0, ld_kept = 0;
  unsigned alignment_a = 256, alignment_b = 256, alignment_c = 256, alignment_vector = 256, alignment_kept = 256;

  friend bool operator==(const product_shape&, const product_shape&) = default;
};

// What a product reads and writes besides A, B and C: its ending's, and the numbers on the device that factors of 8 bits are multiplied by.
struct product_pointers {
  const void *vector = nullptr, *kept = nullptr;
  const float *scale_a = nullptr, *scale_b = nullptr;
};

// Owns what cuBLASLt has made.
template <auto Destroy>
struct blas_destroyer {
  template <class T>
  void operator()(T* object) const noexcept { (void)Destroy(object); }
};
template <class Handle, auto Destroy>
using blas_object = std::unique_ptr<std::remove_pointer_t<Handle>, blas_destroyer<Destroy>>;

// One shape, ready to run.
class blas_plan {
 public:
  // Of the pointers only whether they are there and their alignment matters here.
  blas_plan(cublasLtHandle_t blas, const product_shape& shape, std::size_t workspace, const product_pointers& with) : shape_(shape) {
    const bool is_double = shape.type_a == CUDA_R_64F;
    const cublasComputeType_t compute = is_double ? CUBLAS_COMPUTE_64F : shape.tensor_float && shape.type_a == CUDA_R_32F ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasLtMatmulDesc_t made = nullptr;
    blas_check(cublasLtMatmulDescCreate(&made, compute, is_double ? CUDA_R_64F : CUDA_R_32F), "cublasLtMatmulDescCreate");
    how_.reset(made);
    set(CUBLASLT_MATMUL_DESC_TRANSA, shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(shape.ending));
    if (with.vector) set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, shape.out_type);
    if (with.kept) set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, shape.ld_kept);
    point(with);
    first_ = layout(shape.type_b, shape.transpose_b ? shape.k : shape.n, shape.transpose_b ? shape.n : shape.k, shape.ldb);
    second_ = layout(shape.type_a, shape.transpose_a ? shape.m : shape.k, shape.transpose_a ? shape.k : shape.m, shape.lda);
    result_ = layout(shape.out_type, shape.n, shape.m, shape.ldc);
    choose(blas, workspace);
  }

  const product_shape& shape() const { return shape_; }
  // False where cuBLASLt has no such product: then its ending must be computed by itself.
  bool supported() const { return supported_; }

  // alpha and beta: of the type that sums are taken in. What else is pointed to is part of cuBLASLt's description, not of its call.
  void run(cublasLtHandle_t blas, cudaStream_t stream, const void* alpha, const void* a, const void* b, const void* beta, void* c, const product_pointers& with, void* workspace,
           std::size_t workspace_bytes) {
    point(with);
    blas_check(cublasLtMatmul(blas, how_.get(), alpha, b, first_.get(), a, second_.get(), beta, c, result_.get(), c, result_.get(), &algorithm_, workspace, workspace_bytes, stream), "cublasLtMatmul");
  }

 private:
  using layout_object = blas_object<cublasLtMatrixLayout_t, &cublasLtMatrixLayoutDestroy>;

  static cublasLtEpilogue_t epilogue_of(product_ending ending) {
    switch (ending) {
      case product_ending::bias: return CUBLASLT_EPILOGUE_BIAS;
      case product_ending::bias_gelu: return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
      case product_ending::gelu_slope: return CUBLASLT_EPILOGUE_DGELU;
      case product_ending::bias_gradient: return CUBLASLT_EPILOGUE_BGRADA;  // our B is its A
      case product_ending::none: break;
    }
    return CUBLASLT_EPILOGUE_DEFAULT;
  }
  template <class V>
  void set(cublasLtMatmulDescAttributes_t what, const V& value) {
    blas_check(cublasLtMatmulDescSetAttribute(how_.get(), what, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  // Its A is our B.
  void point(const product_pointers& with) {
    if (with.vector != with_.vector) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, with.vector);
    if (with.kept != with_.kept) set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, with.kept);
    if (with.scale_b != with_.scale_b) set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, with.scale_b);
    if (with.scale_a != with_.scale_a) set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, with.scale_a);
    with_ = with;
  }
  static layout_object layout(cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t ld) {
    cublasLtMatrixLayout_t made = nullptr;
    blas_check(cublasLtMatrixLayoutCreate(&made, type, std::uint64_t(rows), std::uint64_t(columns), ld), "cublasLtMatrixLayoutCreate");
    return layout_object(made);
  }
  void choose(cublasLtHandle_t blas, std::size_t workspace) {
    cublasLtMatmulPreference_t wish = nullptr;
    blas_check(cublasLtMatmulPreferenceCreate(&wish), "cublasLtMatmulPreferenceCreate");
    const blas_object<cublasLtMatmulPreference_t, &cublasLtMatmulPreferenceDestroy> owner(wish);
    const auto ask = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
      blas_check(cublasLtMatmulPreferenceSetAttribute(wish, what, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
    };
    ask(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t(workspace));
    // Parts of a sum over k meet before they are rounded to 16 bits.
    if (shape_.out_type == CUDA_R_16F || shape_.out_type == CUDA_R_16BF) ask(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    ask(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t(shape_.alignment_b));
    ask(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t(shape_.alignment_a));
    ask(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, std::uint32_t(shape_.alignment_c));
    ask(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, std::uint32_t(shape_.alignment_c));
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(blas, how_.get(), first_.get(), second_.get(), result_.get(), result_.get(), wish, 1, &best, &found);
    const bool refused = status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE;  // its ways to say that it has none
    if (shape_.ending == product_ending::none || !refused) blas_check(status, "cublasLtMatmulAlgoGetHeuristic");
    supported_ = !refused && found > 0 && best.state == CUBLAS_STATUS_SUCCESS;
    if (shape_.ending == product_ending::none && !supported_) blas_check(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic");
    algorithm_ = best.algo;
  }

  product_shape shape_;
  blas_object<cublasLtMatmulDesc_t, &cublasLtMatmulDescDestroy> how_;
  layout_object first_, second_, result_;
  cublasLtMatmulAlgo_t algorithm_{};
  product_pointers with_;
  bool supported_ = false;
};

// The plans of a context. A model has some tens of shapes: looking through them costs less than starting a kernel.
class blas_plans {
 public:
  blas_plan& of(cublasLtHandle_t blas, const product_shape& shape, std::size_t workspace, const product_pointers& with) {
    for (auto& plan : plans_)
      if (plan.shape() == shape) return plan;
    return plans_.emplace_back(blas, shape, workspace, with);
  }
  std::size_t size() const { return plans_.size(); }

 private:
  std::list<blas_plan> plans_;
};

}  // namespace entrain::engine
