PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input
# Other libraries, each in a virtual environment of its own, .venv-sb3 and so on; make ecosystem-sb3 tests one.
LIBRARIES = sb3 torchrl rllib tianshou skrl
OLDER := $(VENV)-gymnasium-1.2.2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PACKAGES_sb3 = ".[dev,sb3,ray,video]" popgym==1.0.7
PACKAGES_torchrl = ".[dev]" torchrl
PACKAGES_rllib = ".[dev]" "ray[rllib]" gymnasium==1.2.2
PACKAGES_tianshou = ".[dev]" tianshou
PACKAGES_skrl = ".[dev]" skrl
# Every module but those of an extra, by its dotted name.
MODULES = $(filter-out hardmem.__main__ hardmem.envs.sb3,$(patsubst %.__init__,%,$(subst /,.,$(basename \
	$(sort $(wildcard hardmem/*.py hardmem/*/*.py))))))

.PHONY: help run test docs gpu-check ecosystem $(LIBRARIES:%=ecosystem-%) plug-in gymnasium-1.2.2 clean

help:
	@echo "make run        install into $(VENV), then compare soft and hard memory access on the Copy task"
	@echo "make test       ruff, mypy and the tests, with the development tools installed into $(VENV)"
	@echo "make docs       check the pages (links, code, commands), write the API reference to build/docs"
	@echo "make gpu-check  the tests that need a CUDA device; an error where there is none"
	@echo "make ecosystem  other RL libraries, each in its own $(VENV)-NAME; or one, make ecosystem-NAME, of: $(LIBRARIES)"
	@echo "make plug-in    the same with more seeds, and docs/plug-in.md anew from what it found"
	@echo "make gymnasium-1.2.2  the tests of the environments under that older Gymnasium; in $(OLDER)"
	@echo "make clean      remove $(VENV) and those beside it, caches and build products; runs/ stays"
	@echo "Variables: PYTHON=$(PYTHON) (3.11 or newer), VENV=$(VENV)"

run: $(VENV)/.installed
	$(BIN)/hardmem compare copy

test: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict -p hardmem
	$(BIN)/python -m pytest

docs: $(VENV)/.installed-docs
	$(BIN)/python -m pytest tests/test_docs.py tests/agents/test_docs.py tests/envs/test_docs.py
	$(BIN)/pdoc --docformat google --output-directory build/docs $(MODULES)

gpu-check: $(VENV)/.installed-dev
	@$(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' \
		|| { echo "make gpu-check: PyTorch sees no CUDA device here, so no test was run." >&2; exit 1; }
	$(BIN)/python -m pytest -m gpu

ecosystem: $(LIBRARIES:%=ecosystem-%)

$(LIBRARIES:%=ecosystem-%): ecosystem-%: $(VENV)-%/.installed
	$(VENV)-$*/bin/python -m pytest -m ecosystem tests/ecosystem tests/envs/test_rendering.py $(RECORD)

plug-in: $(VENV)/.installed
	$(MAKE) ecosystem RECORD=--record
	$(BIN)/python benchmarks/plug_in.py

gymnasium-1.2.2: override VENV := $(OLDER)
gymnasium-1.2.2: $(OLDER)/.installed
	$(BIN)/python -m pytest tests/envs

# A stamp is the last thing its recipe makes, so an interrupted installation leaves none and is done again.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(call create_venv)
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(call create_venv)
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $(VENV)/.installed $@

$(VENV)/.installed-docs: pyproject.toml constraints.txt
	$(call create_venv)
	$(PIP) install -c constraints.txt -e ".[dev,docs]"
	@touch $(VENV)/.installed $(VENV)/.installed-dev $@

# A library may pin Gymnasium: what it asks for stands in its packages, all else in the constraints.
$(LIBRARIES:%=$(VENV)-%/.installed): $(VENV)-%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-$*
	grep -v $(if $(findstring gymnasium,$(PACKAGES_$*)),'^gymnasium==','^$$') constraints.txt > $(VENV)-$*/constraints.txt
	$(VENV)-$*/bin/python -m pip --disable-pip-version-check --no-input install \
		-c $(VENV)-$*/constraints.txt -e $(PACKAGES_$*)
	@touch $@

$(OLDER)/.installed: pyproject.toml constraints.txt
	$(call create_venv)
	grep -v '^gymnasium==' constraints.txt > $(VENV)/constraints.txt
	$(PIP) install -c $(VENV)/constraints.txt -e ".[dev]" gymnasium==1.2.2
	@touch $@

define create_venv
@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
	"hardmem needs Python 3.11 or newer, but $(PYTHON) is %d.%d; name another with: make PYTHON=..." % v[:2])'
$(PYTHON) -m venv $(VENV)
endef

clean:
	rm -rf $(VENV) $(LIBRARIES:%=$(VENV)-%) $(OLDER) build dist hardmem.egg-info .mypy_cache .pytest_cache .ruff_cache
	find $(wildcard hardmem envs agents tests benchmarks examples) -name __pycache__ -type d -prune -exec rm -rf {} +
