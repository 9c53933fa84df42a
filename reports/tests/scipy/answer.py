"""Answers the cases on stdin with scipy: a JSON list of samples in, of p out."""

import json
import sys
import warnings

from scipy import stats

EXACT = stats.PermutationMethod(n_resamples=10**9)


def unpaired(base, head):
    both = base + head
    if max(len(base), len(head)) > 30:
        method = "asymptotic"
    else:
        method = EXACT if len(set(both)) < len(both) else "exact"
    return stats.mannwhitneyu(base, head, alternative="two-sided", method=method).pvalue


def paired(base, head):
    moved = [h - b for b, h in zip(base, head) if h != b]
    if len(moved) > 50:
        return stats.wilcoxon(moved, correction=True, method="asymptotic").pvalue
    ties = len({abs(m) for m in moved}) < len(moved)
    return stats.wilcoxon(moved, method=EXACT if ties else "exact").pvalue


warnings.simplefilter("ignore")
TESTS = {"unpaired": unpaired, "paired": paired}
print(json.dumps([float(TESTS[c["test"]](c["base"], c["head"])) for c in json.load(sys.stdin)]))
