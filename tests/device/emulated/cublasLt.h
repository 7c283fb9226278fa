// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda_runtime_api.h"

// The part of cuBLASLt that the library calls, as plain loops (see cuda_runtime.h beside this).

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_INVALID_VALUE = 7, CUBLAS_STATUS_NOT_SUPPORTED = 15 };
struct cublasLtContext {};
using cublasLtHandle_t = cublasLtContext*;

inline const char* cublasLtGetStatusName(cublasStatus_t) { return "cublasStatus"; }
inline const char* cublasLtGetStatusString(cublasStatus_t) { return "emulated"; }
inline cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) { *h = new cublasLtContext; return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { delete h; return CUBLAS_STATUS_SUCCESS; }
