"""What a policy would do on a log, without judging it."""

import numpy as np

from weft.evaluation.case import prepare


def probabilities(policy, data) -> np.ndarray:
    """Return the probabilities of all choices at the steps of a view."""
    candidate = prepare(data).candidate(policy)
    return np.asarray(candidate.probability)[data.position[data.rows]]


def chances(policy, data) -> np.ndarray:
    """Return the probabilities (or densities) of the logged actions of a view."""
    return np.exp(np.asarray(prepare(data).candidate(policy).log_prob)[data.rows])
