"""What is computed of a data set once and kept as long as the data set is.

It is not kept in the data set, whose attributes are its content: `Dataset(**vars(data))` is a copy without it.
"""

import functools
import inspect
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, ParamSpec, TypeVar

__all__ = ["once_per_dataset"]

Answer = TypeVar("Answer")
More = ParamSpec("More")


def once_per_dataset(
    function: Callable[Concatenate[Any, More], Answer],
) -> Callable[Concatenate[Any, More], Answer]:
    """Let a pure function of a `Dataset` and further arguments compute each answer once for every data set.

    Answers belong to one object, which never changes; whatever is made of it (a view, another declaration, a
    concatenation) is another object and has none of them. They go when the object goes. Whoever gets an answer shares
    it with others and must not write into it.
    """
    signature = inspect.signature(function)
    answers: weakref.WeakKeyDictionary[Any, dict[Hashable, Answer]] = weakref.WeakKeyDictionary()

    @functools.wraps(function)
    def remembering(data: Any, *more: More.args, **options: More.kwargs) -> Answer:
        bound = signature.bind(data, *more, **options)
        bound.apply_defaults()
        key = tuple(list(bound.arguments.values())[1:])
        try:
            hash(key)
        except TypeError:  # no argument that the function takes; it says so
            return function(data, *more, **options)
        own = answers.setdefault(data, {})
        if key not in own:
            own[key] = function(data, *more, **options)
        return own[key]

    return remembering
