# Every target makes what it needs, from python3 (3.11 or newer) and make alone.
PYTHON ?= python3
BIN := .venv/bin
PEERS := .venv-peers/bin
PEERS_ONLINE := .venv-peers-online/bin
export WEFT_CACHE ?= $(CURDIR)/.cache/compiled

.PHONY: demo test test-all test-slow bench bench-peers coverage lint docs lock clean

demo: .venv/core.stamp
	$(BIN)/weft demo --out report.html

test: .venv/dev.stamp
	$(BIN)/pytest -q -n 2 --dist worksteal

# Everything, the slow tests as well.
test-all: .venv/dev.stamp
	$(BIN)/pytest -q -n 2 --dist worksteal -m "slow or not slow" --durations 30

test-slow: .venv/dev.stamp
	$(BIN)/pytest -q -m slow

bench: .venv/dev.stamp .venv-peers/stamp
	$(BIN)/python benchmarks/speed.py --peers $(PEERS)/python

coverage: .venv/dev.stamp
	$(BIN)/python benchmarks/coverage/run.py
	$(BIN)/python benchmarks/coverage/gate.py

bench-peers: .venv-peers/stamp .venv-peers-online/stamp

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/dev.stamp
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/figures.py

# The lock files name versions only; `make lock` renews them.
lock: .venv/dev.stamp
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header pyproject.toml -o requirements/core.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header --extra dev --extra mujoco --extra tune pyproject.toml -o requirements/dev.txt

.venv/made.stamp:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "weft needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/core.stamp: .venv/made.stamp requirements/core.txt pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/core.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv/dev.stamp: .venv/core.stamp requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/dev.txt
	touch $@

.venv-peers/stamp: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/python -m pip install -q --disable-pip-version-check -r benchmarks/peers/requirements.txt
	touch $@

.venv-peers-online/stamp: benchmarks/peers/requirements_online.txt
	$(PYTHON) -m venv .venv-peers-online
	$(PEERS_ONLINE)/python -m pip install -q --disable-pip-version-check -r benchmarks/peers/requirements_online.txt
	touch $@

clean:
	rm -rf .venv .venv-peers .venv-peers-online .cache build dist src/*.egg-info
