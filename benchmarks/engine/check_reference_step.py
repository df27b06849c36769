"""Checks that a reference step made now equals the committed one, within float32 rounding.

    python make_reference_step.py NEW && python check_reference_step.py NEW
"""

import sys

import numpy as np
from safetensors.numpy import load_file

from make_reference_step import OUT, feeds_norm

ABSOLUTE, RELATIVE, LEARNING_RATE = 3e-5, 1e-4, 1e-3


def main():
    committed, new = load_file(OUT), load_file(sys.argv[1])
    assert committed.keys() == new.keys(), committed.keys() ^ new.keys()
    worst = 0.0
    for name, old in committed.items():
        absolute = 2 * LEARNING_RATE if name.startswith("after1.") and feeds_norm(name) else ABSOLUTE
        np.testing.assert_allclose(new[name], old, RELATIVE, absolute, err_msg=name)
        worst = max(worst, float(np.abs(new[name].astype(np.float64) - old).max()))
    print(f"{len(new)} tensors agree; largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
