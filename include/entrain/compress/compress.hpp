// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/compress/after.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/elias_qsgd.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/one_bit.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/scaled.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/terngrad.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/compress/way.hpp>
