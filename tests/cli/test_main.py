import resource
import subprocess
import sys

import pytest

from weft import __version__
from weft.cli.command import PACKAGE, Command
from weft.cli.main import run
from weft.core import registry as discovery

COMMANDS = discovery.discover(PACKAGE, discovery.final(Command))


def said(arguments, capsys):
    """Run a command line here and return exit code, standard output and standard error."""
    try:
        code = run(arguments)
    except SystemExit as stopped:  # tyro prints help and mistakes itself
        code = stopped.code
    found = capsys.readouterr()
    return code, found.out, found.err


def test_help_lists_every_command(capsys):
    code, out, _ = said(["--help"], capsys)
    assert code == 0
    known = (
        "advise algorithms benchmark certify demo evaluate finetune fit inspect ledger report stage study triage tune"
    )
    assert set(COMMANDS) == set(known.split())
    assert all(f"  {name} " in out for name in COMMANDS)
    assert said([], capsys)[:2] == (0, out)
    assert said(["--version"], capsys)[1] == f"weft {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name, capsys):
    code, out, _ = said([name, "--help"], capsys)
    assert code == 0
    assert f"Example: weft {name}" in out
    assert COMMANDS[name].title() in " ".join(out.split())


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["evaluate", "--help"], ["fitt"]], ids=" ".join)
def test_help_imports_no_jax_and_is_quick(arguments):
    code = "import sys; from weft.cli.main import run\ntry: run(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print('jax' in sys.modules, 'numpy' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found.stdout.splitlines()[-1] == "False False"
    # processor time, because a wall clock measures how busy the machine is
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_python_m_weft_is_the_command():
    found = subprocess.run([sys.executable, "-m", "weft", "fitt"], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith("weft: There is no command 'fitt'. Did you mean 'fit'?")
    assert found.stderr.count("\n") == 1


def test_an_unknown_option_names_the_nearest(capsys):
    code, out, err = said(["inspect", "log.csv", "--rewards", "click"], capsys)
    assert (code, out) == (2, "")
    assert err.startswith("weft: `weft inspect` has no option '--rewards'. Did you mean '--reward'?")


@pytest.mark.parametrize("name", COMMANDS)
def test_stopping_is_not_a_traceback(name, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS[name], "read", stop)
    assert said([name], capsys) == (130, "", "weft: Stopped.\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_speaks_of_the_field_and_not_in_riddles(name, capsys):
    """Phrases that a native reader stops at; they stood in these texts once."""
    text = " ".join(said([name, "--help"], capsys)[1].split())
    riddles = ("so many", "always the same", "go on by acting", "others from now on", "Deals the folds", "the dip")
    assert not [phrase for phrase in riddles if phrase in text]
