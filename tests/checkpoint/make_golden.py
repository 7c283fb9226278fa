# SPDX-License-Identifier: Apache-2.0
"""Writes golden.safetensors, the file of another implementation that test_safetensors.cpp reads.

    pip install safetensors numpy; python tests/checkpoint/make_golden.py tests/checkpoint/golden.safetensors
    python tests/checkpoint/make_golden.py --check FILE     # reads a file of ours with that implementation
"""
import sys

import numpy
from safetensors import safe_open
from safetensors.numpy import save_file

if sys.argv[1] == "--check":
    with safe_open(sys.argv[2], framework="np") as f:
        print(f.metadata())
        for name in f.keys():
            value = f.get_tensor(name)
            print(name, value.dtype, value.shape, value.ravel()[:8])
else:
    save_file(
        {
            "matrix": numpy.arange(6, dtype=numpy.float32).reshape(2, 3) / 4,
            "double": numpy.array([0.1, -1e300], dtype=numpy.float64),
            "half": numpy.array([1.5, -2.0, 65504.0], dtype=numpy.float16),
            "tokens": numpy.array([-1, 2**31 - 1], dtype=numpy.int32),
            "big": numpy.array([2**64 - 1], dtype=numpy.uint64),
            "bytes": numpy.arange(5, dtype=numpy.uint8),
            "flags": numpy.array([True, False, True]),
            "empty": numpy.zeros((0, 7), dtype=numpy.int16),
            "scalar": numpy.array(3.25, dtype=numpy.float32),
            'odd "name"\n\u20ac': numpy.array([1], dtype=numpy.int8),
        },
        sys.argv[1],
        metadata={"format": "np", "note": "caf\u00e9"},
    )
