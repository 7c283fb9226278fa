// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <entrain/core/dtype.hpp>
#include <entrain/core/small_float.hpp>

#include "cuda_runtime_api.h"

// The part of cuBLASLt that the library calls, as plain loops over columns (see cuda_runtime.h beside this), and as strict as the
// real one about sizes, leading dimensions, types and alignment.

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_INVALID_VALUE = 7, CUBLAS_STATUS_NOT_SUPPORTED = 15 };
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_32F_FAST_TF32 = 77, CUBLAS_COMPUTE_64F = 70 };
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cublasLtEpilogue_t { CUBLASLT_EPILOGUE_DEFAULT = 1, CUBLASLT_EPILOGUE_BIAS = 4 };
enum cublasLtMatmulDescAttributes_t {
  CUBLASLT_MATMUL_DESC_TRANSA = 3,
  CUBLASLT_MATMUL_DESC_TRANSB = 4,
  CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
  CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8,
  CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE = 26
};
enum cublasLtMatmulPreferenceAttributes_t {
  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8
};

struct cublasLtContext {};
using cublasLtHandle_t = cublasLtContext*;
struct cublasLtMatmulAlgo_t { unsigned alignment = 0; };
struct cublasLtMatmulHeuristicResult_t { cublasLtMatmulAlgo_t algo; };
struct cublasLtEmulatedDesc {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  cudaDataType_t bias_type = CUDA_R_32F;
};
struct cublasLtEmulatedLayout {
  cudaDataType_t type;
  std::uint64_t rows, columns;
  std::int64_t ld;
};
struct cublasLtEmulatedPreference { std::uint64_t workspace = 0; std::uint32_t alignment[4] = {256, 256, 256, 256}; };
using cublasLtMatmulDesc_t = cublasLtEmulatedDesc*;
using cublasLtMatrixLayout_t = cublasLtEmulatedLayout*;
using cublasLtMatmulPreference_t = cublasLtEmulatedPreference*;

namespace entrain::emulated {

inline long blas_objects = 0;  // made, ever

inline std::size_t width(cudaDataType_t t) { return t == CUDA_R_64F ? 8 : t == CUDA_R_32F ? 4 : 2; }
inline double read(cudaDataType_t type, const void* p, std::size_t i) {
  if (type == CUDA_R_64F) return static_cast<const double*>(p)[i];
  if (type == CUDA_R_32F) return double(static_cast<const float*>(p)[i]);
  if (type == CUDA_R_16F) return double(float(static_cast<const float16*>(p)[i]));
  return double(float(static_cast<const bfloat16*>(p)[i]));
}
inline void write(cudaDataType_t type, void* p, std::size_t i, double v) {
  if (type == CUDA_R_64F) static_cast<double*>(p)[i] = v;
  else if (type == CUDA_R_32F) static_cast<float*>(p)[i] = float(v);
  else if (type == CUDA_R_16F) static_cast<float16*>(p)[i] = float16(float(v));
  else static_cast<bfloat16*>(p)[i] = bfloat16(float(v));
}
inline bool aligned(const void* p, unsigned to) { return reinterpret_cast<std::uintptr_t>(p) % to == 0; }

}  // namespace entrain::emulated

inline const char* cublasLtGetStatusName(cublasStatus_t s) { return s == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE" : s ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_SUCCESS"; }
inline const char* cublasLtGetStatusString(cublasStatus_t) { return "emulated"; }
inline cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) { *h = new cublasLtContext; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { delete h; return CUBLAS_STATUS_SUCCESS; }

inline cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* d, cublasComputeType_t compute, cudaDataType_t scale) {
  ++entrain::emulated::blas_objects;
  *d = new cublasLtEmulatedDesc{compute, scale};
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { delete d; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t what, const void* value, std::size_t bytes) {
  const auto take = [&](auto& to) {
    if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return take(d->a);
    case CUBLASLT_MATMUL_DESC_TRANSB: return take(d->b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return take(d->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return take(d->bias);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return take(d->bias_type);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}
inline cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* l, cudaDataType_t type, std::uint64_t rows, std::uint64_t columns, std::int64_t ld) {
  if (rows == 0 || columns == 0 || ld < std::int64_t(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  ++entrain::emulated::blas_objects;
  *l = new cublasLtEmulatedLayout{type, rows, columns, ld};
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { delete l; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* p) { *p = new cublasLtEmulatedPreference; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { delete p; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t what, const void* value, std::size_t bytes) {
  if (bytes != (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8u : 4u)) return CUBLAS_STATUS_INVALID_VALUE;
  if (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) std::memcpy(&p->workspace, value, bytes);
  else std::memcpy(&p->alignment[what - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

// Whether sizes and types fit together.
inline cublasStatus_t cublasLtEmulatedCheck(const cublasLtEmulatedDesc& d, const cublasLtEmulatedLayout& a, const cublasLtEmulatedLayout& b, const cublasLtEmulatedLayout& out) {
  const auto m = d.a == CUBLAS_OP_N ? a.rows : a.columns, k = d.a == CUBLAS_OP_N ? a.columns : a.rows;
  const auto k2 = d.b == CUBLAS_OP_N ? b.rows : b.columns, n = d.b == CUBLAS_OP_N ? b.columns : b.rows;
  if (k != k2 || m != out.rows || n != out.columns || a.type != b.type) return CUBLAS_STATUS_INVALID_VALUE;
  const bool wide = a.type == CUDA_R_64F;
  if (wide != (d.compute == CUBLAS_COMPUTE_64F) || wide != (d.scale == CUDA_R_64F) || wide != (out.type == CUDA_R_64F)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (d.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && a.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (a.type == CUDA_R_32F && out.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (a.type == CUDA_R_16F && out.type == CUDA_R_16BF) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (a.type == CUDA_R_16BF && out.type == CUDA_R_16F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (d.epilogue == CUBLASLT_EPILOGUE_BIAS && d.bias_type != out.type) return CUBLAS_STATUS_NOT_SUPPORTED;
  return CUBLAS_STATUS_SUCCESS;
}

inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                                     cublasLtMatrixLayout_t out, cublasLtMatmulPreference_t wish, int, cublasLtMatmulHeuristicResult_t* best, int* found) {
  *found = 0;
  if (c->rows != out->rows || c->columns != out->columns || c->type != out->type) return CUBLAS_STATUS_INVALID_VALUE;
  const auto status = cublasLtEmulatedCheck(*d, *a, *b, *out);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  best->algo.alignment = 256;
  for (const auto asked : wish->alignment) best->algo.alignment = asked < best->algo.alignment ? asked : best->algo.alignment;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void* alpha, const void* a, cublasLtMatrixLayout_t la, const void* b, cublasLtMatrixLayout_t lb,
                                     const void* beta, const void* c, cublasLtMatrixLayout_t lc, void* out, cublasLtMatrixLayout_t lo, const cublasLtMatmulAlgo_t* how, void* workspace,
                                     std::size_t, cudaStream_t) {
  const auto status = cublasLtEmulatedCheck(*d, *la, *lb, *lo);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (!workspace || c != out || lc->ld != lo->ld) return CUBLAS_STATUS_INVALID_VALUE;
  for (const void* p : {a, b, c})
    if (!entrain::emulated::aligned(p, how->alignment)) return CUBLAS_STATUS_INVALID_VALUE;
  if (d->epilogue == CUBLASLT_EPILOGUE_BIAS && !d->bias) return CUBLAS_STATUS_INVALID_VALUE;
  const double al = entrain::emulated::read(d->scale, alpha, 0), be = entrain::emulated::read(d->scale, beta, 0);
  const std::uint64_t depth = d->a == CUBLAS_OP_N ? la->columns : la->rows;
  for (std::uint64_t j = 0; j < lo->columns; ++j)
    for (std::uint64_t i = 0; i < lo->rows; ++i) {
      double sum = 0;
      for (std::uint64_t l = 0; l < depth; ++l) {
        const std::size_t at_a = d->a == CUBLAS_OP_N ? i + l * std::uint64_t(la->ld) : l + i * std::uint64_t(la->ld);
        const std::size_t at_b = d->b == CUBLAS_OP_N ? l + j * std::uint64_t(lb->ld) : j + l * std::uint64_t(lb->ld);
        sum += entrain::emulated::read(la->type, a, at_a) * entrain::emulated::read(lb->type, b, at_b);
      }
      const std::size_t at = i + j * std::uint64_t(lo->ld);
      double v = al * sum;
      if (be != 0) v += be * entrain::emulated::read(lc->type, c, at);
      if (d->epilogue == CUBLASLT_EPILOGUE_BIAS) v += entrain::emulated::read(d->bias_type, d->bias, i);
      entrain::emulated::write(lo->type, out, at, v);
    }
  return CUBLAS_STATUS_SUCCESS;
}
