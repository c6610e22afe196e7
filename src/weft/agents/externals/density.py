"""An object that draws actions, `sample(observations, key)`, and knows `log_prob(observations, actions)`."""

from typing import Any

import jax

from ...core.errors import UserError
from ..external import External, Question, Reply


class Density(External):
    """A policy over continuous actions that draws, and says how likely the logged actions are."""

    @classmethod
    def claims(cls, source: Any) -> bool:
        """Claim objects with both methods."""
        return hasattr(source, "sample") and hasattr(source, "log_prob") and not isinstance(source, type)

    @classmethod
    def read(cls, source: Any) -> "Density":
        """Return the policy of an object, called by its class."""
        return cls(source, f"the policy {type(source).__name__}")

    def answer(self, question: Question) -> Reply:
        """Return draws at every observation and the density of the logged actions."""
        if question.spec.discrete:
            raise UserError("The log's actions are choices; pass a function that answers with their probabilities.")
        keys = jax.random.split(question.key, question.samples)
        draws = tuple(self.ask(self.source.sample, question.observation, key) for key in keys)
        log_prob = self.ask(self.source.log_prob, question.logged, question.action)
        return Reply(draws=draws, log_prob=log_prob)
