"""A function of a batch of observations: somebody's own code, a torch module, a JAX function."""

from typing import Any, ClassVar

from ..external import External, Question, Reply


class Function(External):
    """A function that answers a batch of observations with probabilities, choices or actions."""

    general: ClassVar[bool] = True

    @classmethod
    def claims(cls, source: Any) -> bool:
        """Claim whatever can be called."""
        return callable(source) and not isinstance(source, type)

    @classmethod
    def read(cls, source: Any) -> "Function":
        """Return the policy of a function, called by its name."""
        return cls(source, f"the function '{getattr(source, '__qualname__', type(source).__name__)}'")

    def answer(self, question: Question) -> Reply:
        """Return what the function answers."""
        return Reply(self.ask(self.source, question.observation))
