// SPDX-License-Identifier: Apache-2.0
#pragma once

// All of checkpoint/, for programs. Inside the library include the one header that you need.

#include <entrain/checkpoint/archive.hpp>
#include <entrain/checkpoint/atomic_file.hpp>
#include <entrain/checkpoint/concepts.hpp>
#include <entrain/checkpoint/crc32c.hpp>
#include <entrain/core/json_reader.hpp>
#include <entrain/checkpoint/policy.hpp>
#include <entrain/checkpoint/public_weights.hpp>
#include <entrain/checkpoint/public_weights_writer.hpp>
#include <entrain/checkpoint/safetensors.hpp>
#include <entrain/checkpoint/safetensors_set.hpp>
#include <entrain/checkpoint/safetensors_writer.hpp>
#include <entrain/checkpoint/weight_table.hpp>
