"""Look at what is in the wheel and use it in an empty environment: `python tools/check_wheel.py dist`.

Needs Python alone. The wheel must hold every file of `src/weft` and nothing else; an environment with it and the locked
versions of the core must answer, train, and write a report.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES = (
    ["--help"],
    ["--version"],
    ["algorithms"],
    ["inspect", "sample:maze"],
    ["fit", "iql", "sample:maze", "--steps", "20", "--hidden", "16", "--out", "run"],
    ["evaluate", "run", "--env", "maze", "--episodes", "2"],
    ["report", "run"],
)


def main(folder: Path) -> None:
    """Check the one wheel in a folder; exit with a sentence for what is wrong."""
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"{folder} holds {len(wheels)} wheels where one is expected.")
    wheel = wheels[0].resolve()
    check_contents(wheel)
    with tempfile.TemporaryDirectory() as place:
        check_use(wheel, Path(place))
    print(f"{wheel.name}: complete, and it works in an empty environment.")


def check_contents(wheel: Path) -> None:
    """Compare the wheel with the source."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    files = (path for path in (source / "weft").rglob("*") if path.is_file() and path.suffix != ".pyc")
    expected = {path.relative_to(source).as_posix() for path in files}
    if expected != names:
        sys.exit(f"{wheel.name} lacks {sorted(expected - names)} and has {sorted(names - expected)} too much.")
    kinds = sorted({Path(name).suffix for name in names})
    print(f"{wheel.name}: {len(names)} files ({', '.join(kinds)}).")


def check_use(wheel: Path, place: Path) -> None:
    """Install the wheel and run a few commands; none may need what is not in the core."""
    venv.create(place / "venv", with_pip=True)
    folder = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [folder / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "requirements" / "core.txt", wheel], check=True)
    subprocess.run([folder / "python", ROOT / "tools" / "import_everything.py"], check=True, cwd=place)
    for line in LINES:
        ended = subprocess.run([folder / "weft", *line], check=False, cwd=place, capture_output=True, text=True)
        if ended.returncode:
            sys.exit(f"`weft {' '.join(line)}` ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
        print(f"weft {' '.join(line)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
