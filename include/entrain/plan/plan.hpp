// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/plan/advise.hpp>
#include <entrain/plan/timeline.hpp>
