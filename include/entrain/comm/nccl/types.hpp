// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include <nccl.h>

#include <entrain/comm/operations.hpp>
#include <entrain/core/dtype.hpp>

// What NCCL calls our element types and operations. What it cannot add up it can still carry, as bytes.

namespace entrain::comm::nccl_detail {

// NCCL can combine elements of this type.
template <class T>
inline constexpr bool is_number = [] {
  switch (dtype_of<T>::value) {
    case dtype::i8: case dtype::u8: case dtype::i32: case dtype::u32: case dtype::i64: case dtype::u64:
    case dtype::f16: case dtype::bf16: case dtype::f32: case dtype::f64: return true;
    default: return false;
  }
}();

template <class Op>
inline constexpr bool is_operation = std::same_as<Op, sum> || std::same_as<Op, product> || std::same_as<Op, maximum> || std::same_as<Op, minimum>;

template <class T>
constexpr ncclDataType_t type_of() {
  switch (dtype_of<T>::value) {
    case dtype::i8: return ncclInt8;
    case dtype::i32: return ncclInt32;
    case dtype::u32: return ncclUint32;
    case dtype::i64: return ncclInt64;
    case dtype::u64: return ncclUint64;
    case dtype::f16: return ncclFloat16;
    case dtype::bf16: return ncclBfloat16;
    case dtype::f32: return ncclFloat32;
    case dtype::f64: return ncclFloat64;
    default: return ncclUint8;
  }
}

// What stands for one element: itself, or its bytes.
template <class T>
constexpr std::size_t units_of() {
  return is_number<T> ? 1 : sizeof(T);
}

template <class Op>
constexpr ncclRedOp_t operation_of() {
  if constexpr (std::same_as<Op, product>) return ncclProd;
  else if constexpr (std::same_as<Op, maximum>) return ncclMax;
  else if constexpr (std::same_as<Op, minimum>) return ncclMin;
  else return ncclSum;
}

}  // namespace entrain::comm::nccl_detail
