// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>

#include <entrain/comm/mpi/group.hpp>
#include <entrain/comm/mpi/request.hpp>
#include <entrain/core/memory.hpp>

// Messages and collectives in MPI's calls. Three things are done here that MPI does not do by itself:
//
//  - Operands that exceed int are cut: flat ones into pieces, those with one piece a rank into columns (a derived type whose
//    repetitions lie one rank's piece apart), those with unequal pieces into broadcasts.
//  - Where input and output may be the same memory (comm/traits.hpp), MPI_IN_PLACE is said, or a scratch copy made. (All ranks
//    pass the same memory twice, or none does: MPI may choose its algorithm by that.)
//  - Reductions that are cut stay reductions of whole elements, so the result does not depend on the cut.
//
// Every function throws communication_error (call, rank, MPI's words) and marks the group as failed when MPI reports one.

namespace entrain::comm::mpi_detail {

inline constexpr int cut_tag = 32767;  // the largest that every MPI has

template <class T>
void* writable(view<T> data) {
  return const_cast<void*>(static_cast<const void*>(data.data()));
}

// operation(offset, count) for pieces of at most `largest`; once even if there is nothing.
template <class Operation>
void in_pieces(std::size_t total, std::size_t largest, Operation operation) {
  std::size_t offset = 0;
  do {
    const std::size_t count = std::min(largest, total - offset);
    operation(offset, int(count));
    offset += count;
  } while (offset < total);
}

template <class T>
request start_send(group& g, view<const T> data, int to, int tag) {
  g.ensure_usable();
  request r(g, "MPI_Isend");
  in_pieces(data.size(), g.largest_count, [&](std::size_t offset, int count) {
    g.check(MPI_Isend(data.data() + offset, count, g.types.datatype<T>(), to, tag, g.comm.get(), r.another()), "MPI_Isend");
  });
  return r;
}

template <class T>
request start_receive(group& g, view<T> data, int from, int tag) {
  g.ensure_usable();
  request r(g, "MPI_Irecv");
  in_pieces(data.size(), g.largest_count, [&](std::size_t offset, int count) {
    g.check(MPI_Irecv(data.data() + offset, count, g.types.datatype<T>(), from, tag, g.comm.get(), r.another()), "MPI_Irecv");
  });
  return r;
}

inline request start_barrier(group& g) {
  g.ensure_usable();
  request r(g, "MPI_Ibarrier");
  g.check(MPI_Ibarrier(g.comm.get(), r.handle()), "MPI_Ibarrier");
  return r;
}

template <class T>
request start_broadcast(group& g, view<T> data, int root) {
  g.ensure_usable();
  request r(g, "MPI_Ibcast");
  in_pieces(data.size(), g.largest_count, [&](std::size_t offset, int count) {
    g.check(MPI_Ibcast(data.data() + offset, count, g.types.datatype<T>(), root, g.comm.get(), r.another()), "MPI_Ibcast");
  });
  return r;
}

template <class T, class Op>
request start_reduce(group& g, view<const T> in, view<T> out, int root) {
  g.ensure_usable();
  request r(g, "MPI_Ireduce");
  const bool here = g.rank == root, same = here && in.data() == out.data();
  in_pieces(in.size(), g.largest_count, [&](std::size_t offset, int count) {
    g.check(MPI_Ireduce(same ? MPI_IN_PLACE : in.data() + offset, here ? out.data() + offset : nullptr, count,
                        g.types.datatype<T>(), g.types.operation<T, Op>(), root, g.comm.get(), r.another()), "MPI_Ireduce");
  });
  return r;
}

template <class T, class Op>
request start_all_reduce(group& g, view<const T> in, view<T> out) {
  g.ensure_usable();
  request r(g, "MPI_Iallreduce");
  const bool same = in.data() == out.data();
  in_pieces(in.size(), g.largest_count, [&](std::size_t offset, int count) {
    g.check(MPI_Iallreduce(same ? MPI_IN_PLACE : in.data() + offset, out.data() + offset, count, g.types.datatype<T>(),
                           g.types.operation<T, Op>(), g.comm.get(), r.another()), "MPI_Iallreduce");
  });
  return r;
}

template <class T, class Op>
void all_reduce(group& g, view<const T> in, view<T> out) {
  g.ensure_usable();
  const bool same = in.data() == out.data();
  in_pieces(in.size(), g.largest_count, [&](std::size_t offset, int count) {
    g.check(MPI_Allreduce(same ? MPI_IN_PLACE : in.data() + offset, out.data() + offset, count, g.types.datatype<T>(),
                          g.types.operation<T, Op>(), g.comm.get()), "MPI_Allreduce");
  });
}

template <class T, class Op>
request start_reduce_scatter(group& g, view<const T> in, view<T> out) {
  g.ensure_usable();
  request r(g, "MPI_Ireduce_scatter_block");
  const std::size_t each = out.size();
  T* result = out.data();
  if (in.data() + std::size_t(g.rank) * each == out.data() && each > 0) {  // MPI's own "in place" puts the result elsewhere
    auto& extra = r.with();
    if (extra.scratch.size() < out.size_bytes()) extra.scratch = buffer<std::byte>(out.size_bytes());
    result = reinterpret_cast<T*>(extra.scratch.data());
    extra.target = out.data(), extra.bytes = out.size_bytes();
  }
  if (each * std::size_t(g.size) <= g.largest_count) {
    g.check(MPI_Ireduce_scatter_block(in.data(), result, int(each), g.types.datatype<T>(), g.types.operation<T, Op>(), g.comm.get(),
                                      r.another()), "MPI_Ireduce_scatter_block");
    return r;
  }
  for (int root = 0; root < g.size; ++root)
    in_pieces(each, g.largest_count, [&](std::size_t offset, int count) {
      g.check(MPI_Ireduce(in.data() + std::size_t(root) * each + offset, result + offset, count, g.types.datatype<T>(),
                          g.types.operation<T, Op>(), root, g.comm.get(), r.another()), "MPI_Ireduce");
    });
  return r;
}

// call(offset, count, type of what has one piece a rank, plain type, count of the plain type): whole, or column by column.
template <class T, class Call>
void by_columns(group& g, std::size_t each, Call call) {
  const auto plain = g.types.datatype<T>();
  if (each * std::size_t(g.size) <= g.largest_count) return call(std::size_t{0}, int(each), plain, plain, int(each));
  in_pieces(each, std::max<std::size_t>(1, g.largest_count / std::size_t(g.size)), [&](std::size_t offset, int count) {
    const auto column = strided(plain, count, MPI_Aint(each * sizeof(T)));  // MPI keeps it until the operation completes
    call(offset, 1, column.get(), plain, count);
  });
}

template <class T>
request start_all_gather(group& g, view<const T> in, view<T> out) {
  g.ensure_usable();
  request r(g, "MPI_Iallgather");
  const bool same = in.data() == out.data() + std::size_t(g.rank) * in.size();
  by_columns<T>(g, in.size(), [&](std::size_t offset, int count, MPI_Datatype column, MPI_Datatype plain, int own) {
    g.check(MPI_Iallgather(same ? MPI_IN_PLACE : in.data() + offset, own, plain, out.data() + offset, count, column, g.comm.get(),
                           r.another()), "MPI_Iallgather");
  });
  return r;
}

template <class T>
request start_gather(group& g, view<const T> in, view<T> out, int root) {
  g.ensure_usable();
  request r(g, "MPI_Igather");
  const bool here = g.rank == root, same = here && in.data() == out.data() + std::size_t(root) * in.size();
  by_columns<T>(g, in.size(), [&](std::size_t offset, int count, MPI_Datatype column, MPI_Datatype plain, int own) {
    g.check(MPI_Igather(same ? MPI_IN_PLACE : in.data() + offset, own, plain, here ? out.data() + offset : nullptr, count, column, root,
                        g.comm.get(), r.another()), "MPI_Igather");
  });
  return r;
}

template <class T>
request start_scatter(group& g, view<const T> in, view<T> out, int root) {
  g.ensure_usable();
  request r(g, "MPI_Iscatter");
  const bool here = g.rank == root, same = here && out.data() == in.data() + std::size_t(root) * out.size();
  by_columns<T>(g, out.size(), [&](std::size_t offset, int count, MPI_Datatype column, MPI_Datatype plain, int own) {
    g.check(MPI_Iscatter(here ? in.data() + offset : nullptr, count, column, same ? MPI_IN_PLACE : writable(out.subview(offset, 0)), own,
                         plain, root, g.comm.get(), r.another()), "MPI_Iscatter");
  });
  return r;
}

template <class T>
request start_all_to_all(group& g, view<const T> in, view<T> out) {
  g.ensure_usable();
  request r(g, "MPI_Ialltoall");
  const bool same = in.data() == out.data();
  by_columns<T>(g, in.size() / std::size_t(g.size), [&](std::size_t offset, int count, MPI_Datatype column, MPI_Datatype, int) {
    g.check(MPI_Ialltoall(same ? MPI_IN_PLACE : in.data() + offset, count, column, out.data() + offset, count, column, g.comm.get(),
                          r.another()), "MPI_Ialltoall");
  });
  return r;
}

template <class T>
request start_all_gather_v(group& g, view<const T> in, view<T> out, std::span<const std::size_t> counts) {
  g.ensure_usable();
  request r(g, "MPI_Iallgatherv");
  const auto type = g.types.datatype<T>();
  const auto ranks = std::size_t(g.size), me = std::size_t(g.rank);
  std::size_t total = 0, before = 0;
  for (std::size_t i = 0; i < ranks; ++i) total += counts[i], before += i < me ? counts[i] : 0;
  const bool same = in.data() == out.data() + before;
  if (total <= g.largest_count) {
    auto& numbers = r.with().numbers;  // counts, then displacements
    for (const auto count : counts) numbers.push_back(int(count));
    std::size_t sum = 0;
    for (const auto count : counts) numbers.push_back(int(sum)), sum += count;
    g.check(MPI_Iallgatherv(same ? MPI_IN_PLACE : static_cast<const void*>(in.data()), int(in.size()), type, out.data(), numbers.data(),
                            numbers.data() + ranks, type, g.comm.get(), r.another()), "MPI_Iallgatherv");
    return r;
  }
  if (!same) std::copy_n(in.data(), in.size(), out.data() + before);
  T* piece = out.data();
  for (std::size_t root = 0; root < ranks; piece += counts[root++])
    in_pieces(counts[root], g.largest_count, [&](std::size_t offset, int count) {
      g.check(MPI_Ibcast(piece + offset, count, type, int(root), g.comm.get(), r.another()), "MPI_Ibcast");
    });
  return r;
}

// Messages between all pairs, which is what MPI_Ialltoallv does, too; but there the ranks would have to agree first whether
// somebody's operand exceeds int.
template <class T>
request start_all_to_all_v(group& g, view<const T> in, std::span<const std::size_t> send, view<T> out,
                           std::span<const std::size_t> receive) {
  g.ensure_usable();
  request r(g, "all_to_all_v by messages");
  const auto type = g.types.datatype<T>();
  T* to = out.data();
  for (std::size_t peer = 0; peer < receive.size(); to += receive[peer++])
    if (receive[peer] > 0)
      in_pieces(receive[peer], g.largest_count, [&](std::size_t offset, int count) {
        g.check(MPI_Irecv(to + offset, count, type, int(peer), cut_tag, g.comm.get(), r.another()), "MPI_Irecv");
      });
  const T* from = in.data();
  for (std::size_t peer = 0; peer < send.size(); from += send[peer++])
    if (send[peer] > 0)
      in_pieces(send[peer], g.largest_count, [&](std::size_t offset, int count) {
        g.check(MPI_Isend(from + offset, count, type, int(peer), cut_tag, g.comm.get(), r.another()), "MPI_Isend");
      });
  return r;
}

}  // namespace entrain::comm::mpi_detail
