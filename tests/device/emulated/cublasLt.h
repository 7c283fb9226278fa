// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>

#include "cuda_runtime_api.h"

// The part of cuBLASLt that the library calls, as plain loops over column-major matrices (see cuda_runtime.h beside this), written
// from the library's documentation. It refuses what the documentation refuses, and more: a product must be given the algorithm that was
// asked for it, pointers as well aligned as was promised then, and the workspace that it wants, which it spoils. An algorithm wants
// workspace where k is large, so that both cases occur.

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_NOT_INITIALIZED = 1, CUBLAS_STATUS_INVALID_VALUE = 7, CUBLAS_STATUS_NOT_SUPPORTED = 15 };
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16F = 2, CUDA_R_16BF = 14, CUDA_R_8F_E4M3 = 28, CUDA_R_8F_E5M2 = 29 };
using cudaDataType = cudaDataType_t;
enum cublasOperation_t { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_64F = 70, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum cublasLtReductionScheme_t { CUBLASLT_REDUCTION_SCHEME_INPLACE = 1, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2, CUBLASLT_REDUCTION_SCHEME_MASK = 7 };
enum cublasLtEpilogue_t {
  CUBLASLT_EPILOGUE_DEFAULT = 1,
  CUBLASLT_EPILOGUE_BIAS = 4,
  CUBLASLT_EPILOGUE_GELU_AUX_BIAS = 32 | 128 | 4,
  CUBLASLT_EPILOGUE_DGELU = 64 | 128,
  CUBLASLT_EPILOGUE_BGRADA = 256,
  CUBLASLT_EPILOGUE_BGRADB = 512
};
enum cublasLtMatmulDescAttributes_t {
  CUBLASLT_MATMUL_DESC_TRANSA = 3,
  CUBLASLT_MATMUL_DESC_TRANSB = 4,
  CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
  CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8,
  CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER = 11,
  CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD = 12,
  CUBLASLT_MATMUL_DESC_A_SCALE_POINTER = 17,
  CUBLASLT_MATMUL_DESC_B_SCALE_POINTER = 18,
  CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE = 26
};
enum cublasLtMatmulPreferenceAttributes_t {
  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
  CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8
};

struct cublasLtContext {};
using cublasLtHandle_t = cublasLtContext*;
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType scale;
  std::int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void *bias = nullptr, *aux = nullptr;
  std::int64_t aux_ld = 0;
  std::int32_t bias_type = -1;  // that of D
  const void *a_scale = nullptr, *b_scale = nullptr;
};
using cublasLtMatmulDesc_t = cublasLtMatmulDescOpaque_t*;
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType type;
  std::uint64_t rows, columns;
  std::int64_t ld;
};
using cublasLtMatrixLayout_t = cublasLtMatrixLayoutOpaque_t*;
struct cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace = 0;
  std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK, alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
};
using cublasLtMatmulPreference_t = cublasLtMatmulPreferenceOpaque_t*;
struct cublasLtMatmulAlgo_t { std::uint64_t data[8]; };
struct cublasLtMatmulHeuristicResult_t {
  cublasLtMatmulAlgo_t algo;
  std::size_t workspaceSize;
  cublasStatus_t state;
  float wavesCount;
  int reserved[4];
};

namespace entrain::emulated {

inline std::atomic<long> blas_created = 0, blas_alive = 0;      // descriptors, layouts, preferences and handles
inline std::atomic<long> blas_searches = 0, blas_products = 0;  // heuristics asked, products computed
inline std::atomic<long> blas_products_of_8_bits = 0;           // of which with factors of 8 bits

template <class T>
cublasStatus_t blas_make(T** to, T value) {
  if (!to) return CUBLAS_STATUS_INVALID_VALUE;
  *to = new T(value);
  ++blas_created, ++blas_alive;
  return CUBLAS_STATUS_SUCCESS;
}
template <class T>
cublasStatus_t blas_destroy(T* object) {
  if (object) --blas_alive;
  delete object;
  return CUBLAS_STATUS_SUCCESS;
}
template <class T>
cublasStatus_t blas_set(T& to, const void* from, std::size_t bytes) {
  if (!from || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

inline bool blas_is_8_bits(cudaDataType type) { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }
inline std::size_t blas_bytes(cudaDataType type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : blas_is_8_bits(type) ? 1 : 2; }
template <class T>
T blas_at(const void* p, std::size_t i) {
  T value;
  std::memcpy(static_cast<void*>(&value), static_cast<const char*>(p) + i * sizeof(T), sizeof(T));
  return value;
}
inline double blas_read(cudaDataType type, const void* p, std::size_t i) {
  switch (type) {
    case CUDA_R_64F: return blas_at<double>(p, i);
    case CUDA_R_32F: return double(blas_at<float>(p, i));
    case CUDA_R_16F: return double(float(blas_at<float16>(p, i)));
    case CUDA_R_16BF: return double(float(blas_at<bfloat16>(p, i)));
    case CUDA_R_8F_E4M3: return double(float(blas_at<float8_e4m3>(p, i)));
    case CUDA_R_8F_E5M2: return double(float(blas_at<float8_e5m2>(p, i)));
  }
  return std::numeric_limits<double>::quiet_NaN();
}
inline void blas_write(cudaDataType type, void* p, std::size_t i, double value) {
  char* to = static_cast<char*>(p) + i * blas_bytes(type);
  const float single = float(value);
  const binary16 half(single);
  const bfloat16 brain(single);
  std::memcpy(to, type == CUDA_R_64F ? static_cast<const void*>(&value) : type == CUDA_R_32F ? static_cast<const void*>(&single)
                  : type == CUDA_R_16F ? static_cast<const void*>(&half) : static_cast<const void*>(&brain), blas_bytes(type));
}
// TF32: the 10 leading bits of the fraction, rounded.
inline float blas_short(float x) {
  std::uint32_t word;
  std::memcpy(&word, &x, 4);
  word = (word + 0x1000u) & ~0x1fffu;
  std::memcpy(&x, &word, 4);
  return x;
}

inline bool blas_adds_bias(std::uint32_t epilogue) { return epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS; }
inline bool blas_sums(std::uint32_t epilogue) { return epilogue == CUBLASLT_EPILOGUE_BGRADA || epilogue == CUBLASLT_EPILOGUE_BGRADB; }
inline bool blas_has_aux(std::uint32_t epilogue) { return epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || epilogue == CUBLASLT_EPILOGUE_DGELU; }

// Products of 8-bit factors: both must lie with k contiguous, all sizes be multiples of 16 bytes, sums be of fp32; two of range (e5m2) are
// none. Of endings the bias in D's 16 bits is here, alone or with GELU; an fp8 kernel may have more.
inline bool blas_fits_8_bits(const cublasLtMatmulDescOpaque_t& o, const cublasLtMatrixLayoutOpaque_t& a, const cublasLtMatrixLayoutOpaque_t& b, const cublasLtMatrixLayoutOpaque_t& d) {
  if (!blas_is_8_bits(a.type) || !blas_is_8_bits(b.type) || (a.type == CUDA_R_8F_E5M2 && b.type == CUDA_R_8F_E5M2)) return false;
  if (o.transpose_a != CUBLAS_OP_T || o.transpose_b != CUBLAS_OP_N || o.compute != CUBLAS_COMPUTE_32F || o.scale != CUDA_R_32F) return false;
  for (const auto* layout : {&a, &b, &d})
    if (layout->rows % 16 != 0 || layout->columns % 16 != 0 || layout->ld % 16 != 0) return false;
  if (d.type != CUDA_R_16BF && d.type != CUDA_R_16F && d.type != CUDA_R_32F) return false;
  return o.epilogue == CUBLASLT_EPILOGUE_DEFAULT || (blas_adds_bias(o.epilogue) && d.type != CUDA_R_32F);
}

// What can be said against a product before any data is seen.
inline cublasStatus_t blas_judge(const cublasLtMatmulDescOpaque_t& o, const cublasLtMatrixLayoutOpaque_t& a, const cublasLtMatrixLayoutOpaque_t& b,
                                 const cublasLtMatrixLayoutOpaque_t& c, const cublasLtMatrixLayoutOpaque_t& d) {
  for (const auto* layout : {&a, &b, &c, &d})
    if (layout->rows == 0 || layout->columns == 0 || layout->ld < std::int64_t(layout->rows)) return CUBLAS_STATUS_INVALID_VALUE;
  const std::uint64_t a_rows = o.transpose_a ? a.columns : a.rows, a_columns = o.transpose_a ? a.rows : a.columns;
  const std::uint64_t b_rows = o.transpose_b ? b.columns : b.rows, b_columns = o.transpose_b ? b.rows : b.columns;
  if (a_rows != d.rows || a_columns != b_rows || b_columns != d.columns) return CUBLAS_STATUS_INVALID_VALUE;
  if (c.rows != d.rows || c.columns != d.columns || c.type != d.type || c.ld != d.ld) return CUBLAS_STATUS_INVALID_VALUE;
  // The documentation's table of types.
  const bool eights = blas_is_8_bits(a.type) || blas_is_8_bits(b.type);
  if (eights && !blas_fits_8_bits(o, a, b, d)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (!eights && a.type != b.type) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (!eights && (o.a_scale || o.b_scale)) return CUBLAS_STATUS_INVALID_VALUE;
  const bool halves = (a.type == CUDA_R_16F || a.type == CUDA_R_16BF) && (d.type == a.type || d.type == CUDA_R_32F);
  const bool singles = a.type == CUDA_R_32F && d.type == CUDA_R_32F, doubles = a.type == CUDA_R_64F && d.type == CUDA_R_64F;
  const bool known = o.compute == CUBLAS_COMPUTE_32F             ? o.scale == CUDA_R_32F && (halves || singles || eights)
                     : o.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? o.scale == CUDA_R_32F && singles
                                                                 : o.scale == CUDA_R_64F && doubles;
  if (!known) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (doubles && (blas_sums(o.epilogue) || blas_has_aux(o.epilogue))) return CUBLAS_STATUS_NOT_SUPPORTED;
  if ((blas_adds_bias(o.epilogue) || blas_sums(o.epilogue)) && !o.bias) return CUBLAS_STATUS_INVALID_VALUE;
  if (o.bias_type != -1 && o.bias_type != d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (blas_has_aux(o.epilogue) && (!o.aux || o.aux_ld % 8 != 0 || o.aux_ld < std::int64_t(d.rows))) return CUBLAS_STATUS_INVALID_VALUE;
  return CUBLAS_STATUS_SUCCESS;
}

inline std::uint64_t blas_signature(const cublasLtMatmulDescOpaque_t& o, const cublasLtMatrixLayoutOpaque_t& a, const cublasLtMatrixLayoutOpaque_t& b, const cublasLtMatrixLayoutOpaque_t& d) {
  std::uint64_t sum = 1469598103934665603u;
  for (const std::uint64_t part : {std::uint64_t(o.compute), std::uint64_t(o.transpose_a), std::uint64_t(o.transpose_b), std::uint64_t(o.epilogue), std::uint64_t(o.aux_ld), std::uint64_t(a.type), std::uint64_t(b.type), a.rows,
                                   a.columns, std::uint64_t(a.ld), b.rows, b.columns, std::uint64_t(b.ld), std::uint64_t(d.type), d.rows, d.columns, std::uint64_t(d.ld)})
    sum = (sum ^ part) * 1099511628211u;
  return sum;
}
inline std::uint64_t blas_alignment(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return address == 0 ? 256 : std::min<std::uint64_t>(256, address & (~address + 1));
}

template <class Sum>
void blas_multiply(const cublasLtMatmulDescOpaque_t& o, Sum alpha, const void* a, const cublasLtMatrixLayoutOpaque_t& al, const void* b, const cublasLtMatrixLayoutOpaque_t& bl, Sum beta, const void* c,
                   void* d, const cublasLtMatrixLayoutOpaque_t& dl) {
  const std::size_t m = dl.rows, n = dl.columns, k = o.transpose_a ? al.rows : al.columns;
  thread_local std::vector<Sum> left, right;  // kept, so that what the library allocates can be counted
  const auto matrix = [&](std::vector<Sum>& out, const void* p, const cublasLtMatrixLayoutOpaque_t& l, bool transposed, std::size_t rows, std::size_t columns) {  // op(p), row after row
    out.resize(rows * columns);
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j) {
        const Sum x = Sum(blas_read(l.type, p, transposed ? j + i * std::size_t(l.ld) : i + j * std::size_t(l.ld)));
        out[i * columns + j] = o.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? Sum(blas_short(float(x))) : x;
      }
  };
  matrix(left, a, al, o.transpose_a, m, k), matrix(right, b, bl, o.transpose_b, k, n);
  const Sum scale = (o.a_scale ? Sum(blas_at<float>(o.a_scale, 0)) : Sum(1)) * (o.b_scale ? Sum(blas_at<float>(o.b_scale, 0)) : Sum(1));
  for (std::size_t j = 0; j < n; ++j)
    for (std::size_t i = 0; i < m; ++i) {
      Sum sum = 0;
      for (std::size_t p = 0; p < k; ++p) sum += left[i * k + p] * right[p * n + j];
      const std::size_t at = i + j * std::size_t(dl.ld), at_aux = i + j * std::size_t(o.aux_ld);
      double value = double(alpha * sum * scale) + (beta == 0 ? 0 : double(beta) * blas_read(dl.type, c, at));
      if (blas_adds_bias(o.epilogue)) value += blas_read(dl.type, o.bias, i);
      const double root = std::sqrt(2 / 3.14159265358979323846), cubic = 0.044715;
      if (o.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS) {
        blas_write(dl.type, o.aux, at_aux, value);
        value = value / 2 * (1 + std::tanh(root * (value + cubic * value * value * value)));
      } else if (o.epilogue == CUBLASLT_EPILOGUE_DGELU) {
        const double x = blas_read(dl.type, o.aux, at_aux), t = std::tanh(root * (x + cubic * x * x * x));
        value *= (1 + t) / 2 + x / 2 * (1 - t * t) * root * (1 + 3 * cubic * x * x);
      }
      blas_write(dl.type, d, at, value);
    }
  for (std::size_t i = 0; o.epilogue == CUBLASLT_EPILOGUE_BGRADA && i < m; ++i) {
    double sum = 0;
    for (std::size_t p = 0; p < k; ++p) sum += double(left[i * k + p]);
    blas_write(dl.type, o.bias, i, sum);
  }
  for (std::size_t j = 0; o.epilogue == CUBLASLT_EPILOGUE_BGRADB && j < n; ++j) {
    double sum = 0;
    for (std::size_t p = 0; p < k; ++p) sum += double(right[p * n + j]);
    blas_write(dl.type, o.bias, j, sum);
  }
}

}  // namespace entrain::emulated

inline const char* cublasLtGetStatusName(cublasStatus_t s) {
  return s == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : s == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE" : s == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "cublasStatus";
}
inline const char* cublasLtGetStatusString(cublasStatus_t) { return "emulated"; }
inline cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) { return entrain::emulated::blas_make(h, cublasLtContext{}); }
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { return entrain::emulated::blas_destroy(h); }

inline cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* to, cublasComputeType_t compute, cudaDataType scale) {
  cublasLtMatmulDescOpaque_t made;
  made.compute = compute, made.scale = scale;
  return entrain::emulated::blas_make(to, made);
}
inline cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return entrain::emulated::blas_destroy(d); }
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which, const void* from, std::size_t bytes) {
  if (!d) return CUBLAS_STATUS_INVALID_VALUE;
  switch (which) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return entrain::emulated::blas_set(d->transpose_a, from, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return entrain::emulated::blas_set(d->transpose_b, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return entrain::emulated::blas_set(d->epilogue, from, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return entrain::emulated::blas_set(d->bias, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return entrain::emulated::blas_set(d->aux, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return entrain::emulated::blas_set(d->aux_ld, from, bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER: return entrain::emulated::blas_set(d->a_scale, from, bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER: return entrain::emulated::blas_set(d->b_scale, from, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return entrain::emulated::blas_set(d->bias_type, from, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

inline cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* to, cudaDataType type, std::uint64_t rows, std::uint64_t columns, std::int64_t ld) {
  return entrain::emulated::blas_make(to, cublasLtMatrixLayoutOpaque_t{type, rows, columns, ld});
}
inline cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return entrain::emulated::blas_destroy(l); }

inline cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* to) { return entrain::emulated::blas_make(to, cublasLtMatmulPreferenceOpaque_t{}); }
inline cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return entrain::emulated::blas_destroy(p); }
inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t which, const void* from, std::size_t bytes) {
  if (!p) return CUBLAS_STATUS_INVALID_VALUE;
  switch (which) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return entrain::emulated::blas_set(p->workspace, from, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return entrain::emulated::blas_set(p->reductions, from, bytes);
    default: return entrain::emulated::blas_set(p->alignment[which - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], from, bytes);
  }
}

inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t o, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                     cublasLtMatmulPreference_t preference, int requested, cublasLtMatmulHeuristicResult_t results[], int* returned) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!o || !a || !b || !c || !d || !preference || requested < 1 || !results || !returned) return CUBLAS_STATUS_INVALID_VALUE;
  ++entrain::emulated::blas_searches;
  *returned = 0;
  if (const cublasStatus_t status = entrain::emulated::blas_judge(*o, *a, *b, *c, *d); status != CUBLAS_STATUS_SUCCESS) return status;
  const std::uint32_t* alignment = preference->alignment;
  if (entrain::emulated::blas_is_8_bits(a->type) && *std::min_element(alignment, alignment + 4) < 16) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (alignment[2] != alignment[3]) return CUBLAS_STATUS_NOT_SUPPORTED;  // here C is always D
  const bool split = (o->transpose_a ? a->rows : a->columns) >= 64 && preference->workspace >= 4096;
  results[0] = {{{entrain::emulated::blas_signature(*o, *a, *b, *d), alignment[0], alignment[1], alignment[3], entrain::emulated::blas_alignment(o->bias), entrain::emulated::blas_alignment(o->aux), split, 0}},
                split ? std::size_t(4096) : 0, CUBLAS_STATUS_SUCCESS, 1, {}};
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t o, const void* alpha, const void* A, cublasLtMatrixLayout_t a, const void* B, cublasLtMatrixLayout_t b, const void* beta, const void* C,
                                     cublasLtMatrixLayout_t c, void* D, cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t* algorithm, void* workspace, std::size_t workspace_bytes, cudaStream_t stream) {
  namespace in = entrain::emulated;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!o || !alpha || !A || !a || !B || !b || !beta || !C || !c || !D || !d || !algorithm || C != D) return CUBLAS_STATUS_INVALID_VALUE;
  if (const cublasStatus_t status = in::blas_judge(*o, *a, *b, *c, *d); status != CUBLAS_STATUS_SUCCESS) return status;
  const std::uint64_t* made_for = algorithm->data;
  const bool as_promised = in::blas_alignment(A) >= made_for[1] && in::blas_alignment(B) >= made_for[2] && in::blas_alignment(D) >= made_for[3] && in::blas_alignment(o->bias) >= made_for[4] &&
                           in::blas_alignment(o->aux) >= made_for[5];
  if (made_for[0] != in::blas_signature(*o, *a, *b, *d) || !as_promised) return CUBLAS_STATUS_INVALID_VALUE;
  if (made_for[6]) {
    if (!workspace || workspace_bytes < 4096 || in::blas_alignment(workspace) < 256) return CUBLAS_STATUS_INVALID_VALUE;
  }
  // What the host may change after the call is copied, for a graph that keeps the product.
  const bool doubles = o->scale == CUDA_R_64F;
  const double by = doubles ? in::blas_at<double>(alpha, 0) : double(in::blas_at<float>(alpha, 0)), before = doubles ? in::blas_at<double>(beta, 0) : double(in::blas_at<float>(beta, 0));
  in::submit(stream, in::node_kind::product, nullptr, [=, o = *o, a = *a, b = *b, d = *d, spoils = made_for[6] != 0] {
    if (spoils) std::memset(workspace, 0xff, 4096);
    ++in::blas_products, in::blas_products_of_8_bits += in::blas_is_8_bits(a.type);
    if (doubles) in::blas_multiply(o, by, A, a, B, b, before, C, D, d);
    else in::blas_multiply(o, float(by), A, a, B, b, float(before), C, D, d);
    return true;
  });
  return CUBLAS_STATUS_SUCCESS;
}
