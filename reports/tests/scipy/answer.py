"""Answers the cases on stdin with scipy: a JSON list of samples in, of p out."""

import json
import sys
import warnings

from scipy import stats

EXACT = stats.PermutationMethod(n_resamples=10**9)


def p(base, head):
    both = base + head
    if max(len(base), len(head)) > 30:
        method = "asymptotic"
    else:
        method = EXACT if len(set(both)) < len(both) else "exact"
    return stats.mannwhitneyu(base, head, alternative="two-sided", method=method).pvalue


warnings.simplefilter("ignore")
print(json.dumps([float(p(c["base"], c["head"])) for c in json.load(sys.stdin)]))
