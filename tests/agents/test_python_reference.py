"""The user's own code: found, called, quoted."""

import sys

import pytest

from weft.agents.python_reference import called, lasting, located, refers
from weft.core.errors import UserError


def written(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("words", "refer"),
    [("a.py:f", True), ("a/b c.py:f.g", True), ("module:f", True), ("package.module:f", True), ("a.py", True),
     ("module", False), ("a:b:c", False), ("a/b:f", False), ("module:", False), ("1a:f", False)],
)  # fmt: skip
def test_what_refers_to_code(words, refer):
    assert refers(words) == refer


def test_a_file_is_run_beside_its_neighbours_and_leaves_the_path_as_it_was(tmp_path):
    written(tmp_path, "VALUE = 7\n", "weft_test_neighbour.py")
    path = written(tmp_path, "import weft_test_neighbour\ndef f(x):\n    return weft_test_neighbour.VALUE + x\n")
    before = list(sys.path)
    function, file = located(f"{path}:f")
    assert function(1) == 8
    assert file == path
    assert sys.path == before


def test_a_module_is_found_from_where_one_stands(tmp_path, monkeypatch):
    written(tmp_path, "class Box:\n    inside = len\n", "weft_test_module.py")
    monkeypatch.chdir(tmp_path)
    assert located("weft_test_module:Box.inside")[0] is len


def test_a_reference_lasts_wherever_one_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lasting("mine.py:f") == f"{tmp_path / 'mine.py'}:f"
    assert lasting("module:f") == "module:f"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("{}/none.py:f", "none.py: there is no such file"),
        ("{}/mine.py", "say which function answers: .*mine.py:FUNCTION"),
        ("{}/mine.py:patiend", "there is no 'patiend' in it. Did you mean 'patient'"),
        ("weft_test_nowhere:f", "there is no module 'weft_test_nowhere' that Python finds from here"),
        ("weft_test_nowhere.inside:f", "there is no module"),
        ("{}/broken.py:f", r"broken.py raised SyntaxError: .*broken.py, line 2\)"),
        ("{}/failing.py:f", r"failing.py raised KeyError: 'x' \(.*failing.py, line 3\)"),
    ],
)
def test_what_leads_nowhere_is_one_sentence(words, sentence, tmp_path):
    written(tmp_path, "def patient(x):\n    return x\n")
    written(tmp_path, "x = 1\ndef f(:\n", "broken.py")
    written(tmp_path, "def g():\n\n    return {}['x']\ng()\n", "failing.py")
    with pytest.raises(UserError, match=sentence) as caught:
        located(words.format(tmp_path))
    assert "\n" not in str(caught.value)


def test_what_the_code_raises_is_quoted_with_its_own_line(tmp_path):
    path = written(tmp_path, "import json\ndef f(x):\n    return json.loads(x)\ndef g(x):\n    raise ValueError\n")
    with pytest.raises(UserError, match=rf"^mine raised JSONDecodeError: .*\({path}, line 3\)\.$") as caught:
        called("mine", located(f"{path}:f")[0], "{")
    assert caught.value.__cause__ is not None
    with pytest.raises(UserError, match=rf"^mine raised ValueError \({path}, line 5\)\.$"):
        called("mine", located(f"{path}:g")[0], "{")


def test_code_that_ends_the_process_is_an_error_of_it(tmp_path):
    path = written(tmp_path, "import sys\nsys.exit(3)\n")
    with pytest.raises(UserError, match=r"raised SystemExit: 3 \(.*mine\.py, line 2\)"):
        located(f"{path}:f")


def test_what_is_no_error_passes(tmp_path):
    path = written(tmp_path, "def f(x):\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        called("mine", located(f"{path}:f")[0], 1)
