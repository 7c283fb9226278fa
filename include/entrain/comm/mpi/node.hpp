// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/comm/mpi.hpp>

// The number of this rank's node: the lowest rank of the group that shares memory with it. Collective.
namespace entrain::comm {

inline int node_number(mpi& world) {
  MPI_Comm together;
  if (MPI_Comm_split_type(world.native_handle(), MPI_COMM_TYPE_SHARED, world.rank(), MPI_INFO_NULL, &together) != MPI_SUCCESS)
    throw communication_error("comm::node_number", "MPI_Comm_split_type failed");
  int lowest = world.rank();
  MPI_Bcast(&lowest, 1, MPI_INT, 0, together);  // ranks are ordered: the first has the lowest
  MPI_Comm_free(&together);
  return lowest;
}

}  // namespace entrain::comm
