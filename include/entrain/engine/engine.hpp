// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/engine/host.hpp>
