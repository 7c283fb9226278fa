// SPDX-License-Identifier: Apache-2.0
#pragma once

// Version and compile-time configuration. Every macro of the library begins with ENTRAIN_ and is listed here.

#define ENTRAIN_VERSION_MAJOR 0
#define ENTRAIN_VERSION_MINOR 1
#define ENTRAIN_VERSION_PATCH 0
#define ENTRAIN_VERSION_STRING "0.1.0"

// ENTRAIN_ASSERT_LEVEL   0 none, 1 cheap checks (default), 2 checks that cost a pass over the data, 3 checks that communicate
// ENTRAIN_WITH_MPI       1 when the target entrain::mpi is linked
// ENTRAIN_WITH_ONEDNN    1 when the target entrain::onednn is linked
// ENTRAIN_WITH_ZLIB      1 when zlib was found (gzip-compressed data files)
// ENTRAIN_CUDNN          defined when the target entrain::cudnn is linked (device/nn/cudnn_attention.cuh)
#ifndef ENTRAIN_ASSERT_LEVEL
#define ENTRAIN_ASSERT_LEVEL 1
#endif
#ifndef ENTRAIN_WITH_MPI
#define ENTRAIN_WITH_MPI 0
#endif
#ifndef ENTRAIN_WITH_ONEDNN
#define ENTRAIN_WITH_ONEDNN 0
#endif
#ifndef ENTRAIN_WITH_ZLIB
#define ENTRAIN_WITH_ZLIB 0
#endif

#if defined(__CUDACC__)
#define ENTRAIN_HOST_DEVICE __host__ __device__
#else
#define ENTRAIN_HOST_DEVICE
#endif

// Tells the compiler that the iterations of the loop that follows are independent, so that it may use vector registers.
#if defined(__clang__)
#define ENTRAIN_VECTORISE _Pragma("clang loop vectorize(enable) interleave(enable)")
#elif defined(__GNUC__)
#define ENTRAIN_VECTORISE _Pragma("GCC ivdep")
#else
#define ENTRAIN_VECTORISE
#endif
