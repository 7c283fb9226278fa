// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include <cuda_runtime.h>

// e^x as the device does it fastest at full use: in float with about 2 + |x| units of the last place, which is below 1e-5 where the
// result is not below 1e-30.

namespace entrain::device {

__device__ inline float exponential(float x) { return __expf(x); }
__device__ inline double exponential(double x) { return std::exp(x); }

}  // namespace entrain::device
