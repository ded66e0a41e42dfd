# `make demo` and `make test` do all the set-up. CPU only: set PIP_INDEX_URL or a constraint for a CPU build of torch
# if you do not want the CUDA packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo test check clean

venv: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[tools,simulate,publish,jets,cluster,dev]'
	touch $(STAMP)

demo: venv
	$(BIN)/beamcrew run --backend analyst \
	  "Is there a new resonance in these dijet events? Give its mass, the number of signal events and a p-value."

test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

check: venv
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
