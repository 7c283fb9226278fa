// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/comm/concepts.hpp>

// Message tags of the algorithms: one each, so that two that follow one another cannot take each other's messages.
namespace entrain::comm::algorithms {

namespace tag {
inline constexpr int barrier = first_internal_tag, broadcast = barrier + 1, reduce = barrier + 2, reduce_scatter = barrier + 3,
                     all_gather = barrier + 4, gather = barrier + 5, scatter = barrier + 6, all_to_all = barrier + 7;
}  // namespace tag

}  // namespace entrain::comm::algorithms
