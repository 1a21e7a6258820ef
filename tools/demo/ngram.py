"""A 5-gram model to measure against: interpolated modified Kneser-Ney (Chen and Goodman, 1998), nothing pruned.

Symbols are bytes or the model's own tokens. An n-gram is one integer, base V, so counting is sorting:
4096^5 = 2^60 fits in an int64.
"""

import numpy as np


def _grams(symbols, n, base):
    """int64[len - n + 1]: the code of every n symbols in a row."""
    codes = np.zeros(len(symbols) - n + 1, dtype=np.int64)
    for i in range(n):
        codes = codes * base + symbols[i : len(symbols) - n + 1 + i]
    return codes


def _discounts(counts):
    """D1, D2, D3+ from the counts of counts, kept inside (0, count): single bytes are too few to estimate them."""
    n = [max(1.0, float((counts == i).sum())) for i in (1, 2, 3, 4)]
    y = n[0] / (n[0] + 2 * n[1])
    estimates = [i + 1 - (i + 2) * y * n[i + 1] / n[i] for i in range(3)]
    return np.concatenate(([0.0], np.clip(estimates, 0.01, [0.99, 1.99, 2.99])))


class _Order:
    """One order: adjusted counts of its n-grams, totals and back-off weights of its contexts."""

    def __init__(self, codes, counts, base):
        self.codes, self.base = codes, base
        discount = _discounts(counts)[np.minimum(counts, 3)]
        self.contexts, place = np.unique(codes // base, return_inverse=True)
        totals = np.bincount(place, counts)
        self.probabilities = (counts - discount) / totals[place]
        self.backoff = np.bincount(place, discount) / totals

    def mix(self, grams, lower):
        """Probabilities of n-grams, given those of their last n - 1 symbols."""
        def find(table, keys):
            at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
            return at, table[at] == keys

        at, seen = find(self.codes, grams)
        context, known = find(self.contexts, grams // self.base)
        return np.where(seen, self.probabilities[at], 0.0) + np.where(known, self.backoff[context], 1.0) * lower


class KneserNey:
    def __init__(self, symbols, base, order=5):
        """symbols: int array of the training text; base: V."""
        self.base, self.orders = base, []
        codes, counts = np.unique(_grams(symbols, order, base), return_counts=True)
        for n in range(order, 0, -1):
            self.orders.insert(0, _Order(codes, counts, base))
            if n > 1:  # lower orders count the different symbols seen before, not occurrences
                codes, counts = np.unique(codes % base ** (n - 1), return_counts=True)

    def bits(self, symbols):
        """-log2 of the probability of each symbol after the (up to) four before it."""
        p = np.full(len(symbols), 1.0 / self.base)
        for n, order in enumerate(self.orders, start=1):
            p[n - 1 :] = order.mix(_grams(symbols, n, self.base), p[n - 1 :])
        return -np.log2(p)

    def check(self, context):
        """Sum over the vocabulary of the probabilities after four symbols: must be 1."""
        rows = np.concatenate([np.append(context, w) for w in range(self.base)])
        return (2.0 ** -self.bits(rows)[len(context) :: len(context) + 1]).sum()
