// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/mpi/handle.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/core/dtype.hpp>

// Element types and reduction operations in MPI's terms. What MPI knows is mapped to its own; bfloat16 and users' types
// travel as contiguous bytes and are reduced by their operation's combine(). What had to be created is kept by the cache of
// the group that asked (a search among a handful of entries), so that a step creates nothing.

namespace entrain::comm::mpi_detail {

template <class T>
inline constexpr bool builtin_type = dtype_of<T>::value < dtype::bytes && dtype_of<T>::value != dtype::bf16;

template <class Op>
inline constexpr bool builtin_operation =
    std::is_same_v<Op, sum> || std::is_same_v<Op, product> || std::is_same_v<Op, maximum> || std::is_same_v<Op, minimum>;

inline MPI_Datatype builtin_datatype(dtype type) {
  switch (type) {
    case dtype::u8: return MPI_UINT8_T;
    case dtype::i8: return MPI_INT8_T;
    case dtype::u16: return MPI_UINT16_T;
    case dtype::i16: return MPI_INT16_T;
    case dtype::u32: return MPI_UINT32_T;
    case dtype::i32: return MPI_INT32_T;
    case dtype::u64: return MPI_UINT64_T;
    case dtype::i64: return MPI_INT64_T;
    case dtype::f32: return MPI_FLOAT;
    case dtype::f64: return MPI_DOUBLE;
    default: return MPI_BYTE;
  }
}

// MPI asks for both[i] = mine[i] op both[i], where `mine` comes from the lower ranks.
template <class T, class Op>
void combine_arrays(void* mine, void* both, int* count, MPI_Datatype*) {
  const T* left = static_cast<const T*>(mine);
  T* right = static_cast<T*>(both);
  ENTRAIN_VECTORISE
  for (int i = 0; i < *count; ++i) right[i] = Op::combine(left[i], right[i]);
}

// One address per list of types.
template <class... Types>
struct type_key {
  static inline const char here = 0;
};

class type_cache {
 public:
  template <element T>
  MPI_Datatype datatype() {
    if constexpr (builtin_type<T>) return builtin_datatype(dtype_of<T>::value);
    else if constexpr (sizeof(T) == 1) return MPI_BYTE;
    else return find(types_, &type_key<T>::here, [] {
      MPI_Datatype made;
      MPI_Type_contiguous(int(sizeof(T)), MPI_BYTE, &made);
      MPI_Type_commit(&made);
      return made;
    });
  }

  template <element T, class Op>
  MPI_Op operation() {
    if constexpr (builtin_type<T> && std::is_same_v<Op, sum>) return MPI_SUM;
    else if constexpr (builtin_type<T> && std::is_same_v<Op, product>) return MPI_PROD;
    else if constexpr (builtin_type<T> && std::is_same_v<Op, maximum>) return MPI_MAX;
    else if constexpr (builtin_type<T> && std::is_same_v<Op, minimum>) return MPI_MIN;
    else return find(operations_, &type_key<T, Op>::here, [] {
      MPI_Op made;
      MPI_Op_create(&combine_arrays<T, Op>, Op::commutative ? 1 : 0, &made);
      return made;
    });
  }

 private:
  template <class Owner, class Make>
  static auto find(std::vector<std::pair<const void*, Owner>>& known, const void* key, Make make) {
    for (const auto& [name, owner] : known)
      if (name == key) return owner.get();
    known.emplace_back(key, Owner(make()));
    return known.back().second.get();
  }
  std::vector<std::pair<const void*, datatype_owner>> types_;
  std::vector<std::pair<const void*, operation_owner>> operations_;
};

// `count` elements of `type`, whose repetitions begin `stride` bytes apart: a column of a matrix with one row a rank.
inline datatype_owner strided(MPI_Datatype type, int count, MPI_Aint stride) {
  MPI_Datatype row, spread;
  MPI_Type_contiguous(count, type, &row);
  datatype_owner freed(row);
  MPI_Type_create_resized(row, 0, stride, &spread);
  MPI_Type_commit(&spread);
  return datatype_owner(spread);
}

}  // namespace entrain::comm::mpi_detail
