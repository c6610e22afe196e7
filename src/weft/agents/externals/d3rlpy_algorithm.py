"""A d3rlpy algorithm: its greedy actions, with the scalers that it was trained with."""

from typing import Any

import numpy as np

from ...core.errors import UserError
from ..external import External, Question, Reply


class D3rlpyAlgorithm(External):
    """What `predict` of a d3rlpy algorithm answers: greedy actions in the log's units, or choices."""

    @classmethod
    def claims(cls, source: Any) -> bool:
        """Claim objects that know the form of what they see and do, and predict."""
        names = ("predict", "observation_shape", "action_size")
        return all(hasattr(source, name) for name in names) and not isinstance(source, type)

    @classmethod
    def read(cls, source: Any) -> "D3rlpyAlgorithm":
        """Return the policy of an algorithm, called by its class."""
        return cls(source, f"the d3rlpy algorithm {type(source).__name__}")

    def answer(self, question: Question) -> Reply:
        """Return the greedy actions."""
        spec = question.spec
        sees, size = self.source.observation_shape, self.source.action_size
        if sees is None or size is None:
            raise UserError(f"{self.title} is not built: load its weights or fit it before it is judged.")
        if not spec.plain:
            raise UserError(f"{self.title} sees one array, and the log's observations have several components.")
        shape = tuple(spec.observations[0].shape)
        if tuple(sees) != shape:
            raise UserError(
                f"{self.title} takes observations of the shape {tuple(sees)}, those of the log are {shape}."
            )
        if size != spec.action.size:
            raise UserError(f"{self.title} has actions of size {size}, those of the log are {spec.action.words}.")
        values = np.asarray(question.observation)
        values = values if values.dtype == np.uint8 else values.astype(np.float32)
        return Reply(self.ask(self.source.predict, values))
