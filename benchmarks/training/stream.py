"""The random streams of crates/segfit/src/random.rs, so that both sides of the comparison draw the same numbers.

Run as a script, it checks moments, permutations, and that drawing many numbers at once gives the same ones.
"""

import numpy as np

MASK = (1 << 64) - 1
GOLDEN = 0x9E37_79B9_7F4A_7C15


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB & MASK
    return z ^ (z >> 31)


class Stream:
    """Random numbers named by integers; equal names give equal numbers. Real numbers are float32, as in Rust."""

    def __init__(self, *names):
        self.key, self.counter = GOLDEN, 0
        for name in names:
            self.key = mix((self.key + GOLDEN & MASK) ^ mix(name + GOLDEN & MASK))

    def bits(self):
        self.counter += 1
        return mix(self.key + self.counter * GOLDEN & MASK)

    def unit(self):
        """Uniform in [0, 1)."""
        return np.float32(self.bits() >> 40) / np.float32(2**24)

    def range(self, low, high):
        low, high = np.float32(low), np.float32(high)
        return low + (high - low) * self.unit()

    def below(self, n):
        """Uniform integer in [0, n)."""
        return self.bits() * n >> 64

    def permutation(self, n):
        order = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return order

    def normals(self, n):
        """The first n standard normal numbers of a fresh stream."""
        with np.errstate(over="ignore"):
            z = np.uint64(self.key) + np.arange(1, 2 * n + 1, dtype=np.uint64) * np.uint64(GOLDEN)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        units = ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
        u, v = 1 - units[0::2], units[1::2]
        return np.sqrt(-2 * np.log(u)) * np.cos(np.float32(2 * np.pi) * v)


if __name__ == "__main__":
    a, b = Stream(5, 0, 2), Stream(5, 0, 2)
    one_by_one = [np.sqrt(-2 * np.log(1 - b.unit())) * np.cos(np.float32(2 * np.pi) * b.unit()) for _ in range(100)]
    assert np.allclose(a.normals(100), one_by_one, atol=1e-6)
    assert sorted(Stream(1).permutation(50)) == list(range(50)) and Stream(1).permutation(50) != Stream(2).permutation(50)
    assert abs(Stream(3).normals(100_000).std() - 1) < 0.01
    assert abs(np.mean([Stream(4, i).unit() for i in range(20_000)]) - 0.5) < 0.01
    print("streams are as expected")
