"""Every number that decides an answer, once: what is believed, refused, warned of or waited for, and from where on.

How something is computed (draws of a test, rows at once) stays with the computation. A number without a source was set
by the coverage and gate suites (docs/promises.md), never by the log that it judges.
"""

__all__ = [
    "BEGINNING_DOSE", "COINCIDENCE", "DISAGREEMENT", "DOUBTFUL", "EFFECTIVE_STEPS", "EFFECTIVE_UNITS", "ENOUGH_ARMS",
    "EQUAL_RATIOS", "FALSE_ALARM", "FINDABLE", "FLAT", "FORESEEN_UNITS", "GRANTED", "IMPLAUSIBLE", "INFLATED",
    "LARGEST_GAMMA", "LARGEST_SHARE", "LARGEST_WAIT", "LEAST_CHANCE", "LEAST_DENSITY", "NEGLIGIBLE", "NORMAL_UNITS",
    "OTHERWISE", "PLENTY_STEPS", "RARE", "ROUNDED", "STAGED_ERROR", "TIED", "UNSUPPORTED", "USUAL_ACTIONS",
]  # fmt: skip

# --- weights ---------------------------------------------------------------------------------------------------------

EFFECTIVE_UNITS = 20.0
"""Effective sample size (Kish 1965) of weights below which they say nothing, and their intervals do not hold."""
EFFECTIVE_STEPS = 10.0
"""The same of the one-step ratios of one action in a test of what the actions depended on."""
FORESEEN_UNITS = 5.0
"""The same below which nobody says how many more units would do."""
LARGEST_SHARE = 0.1
"""Of all weight that one unit may have."""
EQUAL_RATIOS = (0.7, 1.4)
"""Mean of one-step ratios, 1 in truth, outside which the propensities are not believed."""
PLENTY_STEPS = 1000
"""Steps from which on a mean of one-step ratios beyond `EQUAL_RATIOS` is an alarm, whatever its own error says."""

# --- support ---------------------------------------------------------------------------------------------------------

USUAL_ACTIONS = 0.95
"""Share of the logged actions that count as usual where they were logged."""
UNSUPPORTED = 0.2
"""Share of a policy's actions unlike any logged one, beyond which it is said and fitted values are not believed."""
LEAST_CHANCE = 1e-3
"""Estimated probability that a logged choice is given at least."""
LEAST_DENSITY = 1e-6
"""Share of a Gaussian beyond which estimated densities fall no further."""

# --- tests of what an estimate assumes -------------------------------------------------------------------------------

DISAGREEMENT = 2.0
"""|z| of two estimates of one value that differ."""
FALSE_ALARM = 0.01
"""Risk that a test of an assumption that holds says otherwise, where all are shown."""
DOUBTFUL = 0.05
"""p below which an assumption is not believed, where an interval depends on it: more alarms, so that few are missed."""
FINDABLE = 50.0
"""Steps with a step before per feature, from which on a test of memory finds it."""
NEGLIGIBLE = 0.25
"""Share of an error that a difference may have without mattering."""
RARE = 5.0
"""Times that a reward must have come up for a normal error to know of it (the rule n p >= 5)."""
NORMAL_UNITS = 30
"""Units from which on a mean is taken to be normal."""
FLAT = 1e-6
"""Width of an interval, as a share of its ends, that is none in 32 bits."""
LARGEST_GAMMA = 100.0
"""Strength of an unseen confounder up to which the flip is looked for (Rosenbaum's Gamma)."""

# --- the gate, the ledger, a roll-out --------------------------------------------------------------------------------

GRANTED = 0.05
"""Risk that a certify fold starts with."""
COINCIDENCE = 0.02
"""Share of units that a log and a policy's training log may have in common by chance."""
TIED = 1e-6
"""Improvement, as a share of what could be lost, that numbers of 32 bits may make up."""
STAGED_ERROR = 0.2
"""Chance, at most, that a certificate stages a policy that is no better than the margin.

Odds above 1 alone come up in a fifth to a half of all logs at no difference. A staged test at a small dose costs little
and errs with the risk of the certificate, so that one useless test in five is a fair price for beginning early.
"""
BEGINNING_DOSE = 0.05
"""Dose of a staged test that rests on an estimate."""
LARGEST_WAIT = 1e7
"""Units beyond which nobody waits for more of them."""
ENOUGH_ARMS = 20
"""Units of a roll-out before it is said how many more are needed."""
IMPLAUSIBLE = 1000.0
"""Odds against what a roll-out takes for granted: chances of the arms and losses alike in both, which refuse it, and a
world without change.

One that was dealt right is ever refused with a chance of at most .001, little beside a risk of .05; a real .6 for a
stated .5 shows after about 480 units, .55 after 1,900.
"""
ROUNDED = 0.005
"""How much a logged propensity may be rounded."""
INFLATED = 0.003
"""How much too large rounded propensities may make weights on average (one decimal and two choices: .0033 and more)."""
OTHERWISE = 0.01
"""Share of decisions in a roll-out that may have been taken otherwise than by the arm."""
