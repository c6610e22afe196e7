"""An ONNX model: one file, run by onnxruntime (the extra `onnx`)."""

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError, nearest
from ...core.files import regular
from ...data.spec import Spec
from ..external import External, Question, Reference, Reply
from ._protobuf import external_tensor

FILE = re.compile(r"(?P<path>.+\.onnx)(?::(?P<output>[^/\\]+))?", re.IGNORECASE)
ROWS = 8192  # observations that are answered at once
KINDS = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8,
}  # fmt: skip


class OnnxFile(External):
    """A model whose input is a batch of observations, and whose output is probabilities, choices or actions."""

    @classmethod
    def claims(cls, source: Any) -> bool:
        """Claim files that are called so, with the output behind a colon if need be."""
        return isinstance(source, str) and FILE.fullmatch(source) is not None

    @classmethod
    def read(cls, source: Any) -> "OnnxFile":
        """Return the policy of a model; raise UserError for a file that is none, or not the whole of it."""
        match = FILE.fullmatch(source)
        assert match is not None
        path = regular(Path(match["path"]))
        content = path.read_bytes()
        _check_whole(content, path)
        words = ":".join([str(path.resolve()), *([match["output"]] if match["output"] else [])])
        session = _session(content, path)
        return cls((session, match["output"]), str(path), reference=Reference.of(words, content))

    def answer(self, question: Question) -> Reply:
        """Return the model's output for all observations."""
        session, _ = self.source
        parts = self._inputs(question.spec, question.observation)
        output, rows = self._output(), self._rows()
        count = len(next(iter(parts.values())))
        answers = []
        for begin in range(0, count, rows):
            piece = {name: _piece(values, begin, rows) for name, values in parts.items()}
            try:
                (answer,) = session.run([output], piece)
            except Exception as problem:  # onnxruntime raises kinds of its own for each of its codes
                raise UserError(f"{self.name}: the model cannot be run ({_first_line(problem)}).") from None
            answer = np.asarray(answer)
            if answer.shape[:1] != (rows,):
                raise UserError(f"{self.name} answers {rows} observations with an output of the shape {answer.shape}.")
            answers.append(answer[: count - begin])
        does = np.concatenate(answers)
        if question.spec.discrete and does.shape == (count, 1) and does.dtype.kind in "iuO":
            does = does[:, 0]
        return Reply(does)

    def _inputs(self, spec: Spec, observation: Any) -> dict[str, np.ndarray]:
        """Return the observations as the model's inputs take them: one, or one per component of that name."""
        inputs = self.source[0].get_inputs()
        if spec.plain and len(inputs) == 1:
            return {inputs[0].name: self._fed(inputs[0], observation)}
        names, parts = [one.name for one in inputs], [part.name for part in spec.observations]
        if spec.plain or sorted(names) != sorted(parts):
            form = "one array" if spec.plain else f"the components {', '.join(parts)}"
            raise UserError(
                f"{self.name} has the inputs {', '.join(names)}, and an observation of the log is {form}; a model has "
                "one input, or one for each component by its name; else call it in a function of your own."
            )
        return {one.name: self._fed(one, observation[one.name]) for one in inputs}

    def _fed(self, wanted: Any, values: Any) -> np.ndarray:
        """Return observations in the type of an input, whose shape they must have."""
        values, shape = np.asarray(values), wanted.shape[1:]
        if wanted.type not in KINDS:
            raise UserError(f"{self.name}: the input '{wanted.name}' takes {wanted.type}; observations are numbers.")
        alike = len(shape) == values.ndim - 1 and all(
            size == ours for size, ours in zip(shape, values.shape[1:], strict=True) if isinstance(size, int)
        )
        if not wanted.shape or not alike:
            raise UserError(
                f"{self.name} takes observations of the shape {tuple(shape)}, those of the log have {values.shape[1:]}."
            )
        return values.astype(KINDS[wanted.type])

    def _rows(self) -> int:
        """Return how many observations the model takes at once: a number that it was exported with, else many."""
        first = self.source[0].get_inputs()[0].shape[0]
        return first if isinstance(first, int) and first > 0 else ROWS

    def _output(self) -> str:
        """Return the output that answers; raise UserError where nobody says which of several."""
        session, wanted = self.source
        names = [one.name for one in session.get_outputs()]
        if wanted is not None and wanted not in names:
            raise UserError(f"{self.name} has no output '{wanted}'.{nearest(wanted, names)} Known: {', '.join(names)}.")
        if wanted is None and len(names) > 1:
            raise UserError(f"{self.name} has the outputs {', '.join(names)}; say which answers: {self.name}:OUTPUT.")
        output = next(one for one in session.get_outputs() if one.name == (wanted or names[0]))
        if not output.type.startswith("tensor("):
            raise UserError(
                f"{self.name}: the output '{output.name}' is {output.type} and no array; export it as a tensor "
                "(for scikit-learn with zipmap=False)."
            )
        return output.name


def _piece(values: np.ndarray, begin: int, rows: int) -> np.ndarray:
    """Return some rows, the last one repeated where there are too few."""
    piece = values[begin : begin + rows]
    return piece if len(piece) == rows else np.concatenate([piece, np.repeat(piece[-1:], rows - len(piece), 0)])


def _check_whole(content: bytes, path: Path) -> None:
    """Raise UserError where a model refers to data in other files, or is no model."""
    try:
        tensor = external_tensor(content)
    except ValueError as problem:
        raise UserError(f"{path}: this is no ONNX model ({problem}).") from None
    if tensor is not None:
        raise UserError(
            f"{path}: the tensor '{tensor}' lies in another file, and a model must be one file; save it as one "
            "(onnx.save_model(model, path, save_as_external_data=False))."
        )


def _session(content: bytes, path: Path) -> Any:
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError:
        raise UserError("The runtime of ONNX models is not installed; run: pip install 'weft[onnx]'.") from None
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is said in the sentence
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime raises kinds of its own for each of its codes
        raise UserError(f"{path}: this is no ONNX model that can be run ({_first_line(problem)}).") from None


def _first_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
