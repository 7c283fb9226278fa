// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/compress/cast.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/top_k.hpp>
