"""The statistics of scripts/experiment.py: paired differences, their intervals and tests. Standard library only."""

import itertools
import random

RESAMPLES = 10_000
# Above this number of pairs, signs are drawn by lot instead of being tried all.
EXACT_PAIRS = 14


def mean(values):
    return sum(values) / len(values)


def bootstrap(values, resamples=RESAMPLES, level=0.95):
    """Mean, and the percentile interval of the mean over resamples with replacement; the same at every call."""
    return bootstrap_of_groups([values], resamples, level)


def bootstrap_of_groups(groups, resamples=RESAMPLES, level=0.95):
    """The same for the mean of the groups' means, with resamples within each group."""
    dice = random.Random(sum(map(len, groups)))
    means = sorted(mean([mean(dice.choices(values, k=len(values))) for values in groups]) for _ in range(resamples))
    tail = (1 - level) / 2
    return mean([mean(values) for values in groups]), quantile(means, tail), quantile(means, 1 - tail)


def quantile(ordered, share):
    """The quantile of sorted values, between two of them in proportion."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def sign_flip(values):
    """Two-sided p-value of `mean = 0` when every sign is equally likely; exact up to EXACT_PAIRS values."""
    observed = abs(sum(values)) - 1e-9
    if len(values) <= EXACT_PAIRS:
        flips = itertools.product([1, -1], repeat=len(values))
        sums = [abs(sum(sign * value for sign, value in zip(signs, values))) for signs in flips]
        return sum(total >= observed for total in sums) / len(sums)
    dice = random.Random(len(values))
    sums = [abs(sum(value if dice.random() < 0.5 else -value for value in values)) for _ in range(RESAMPLES)]
    return (1 + sum(total >= observed for total in sums)) / (1 + RESAMPLES)


def holm(p_values):
    """Holm's step-down correction of named p-values."""
    corrected, highest = {}, 0.0
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_value))
        corrected[name] = highest
    return corrected
