# make pipeline [DATA=folder] [SONGS=folder]   run all notebooks; results in data/<set>/run
# make songs SONGS=folder [MODEL=file]         the genres of your songs, by the shipped model: a page, a table, playlists
# make test                                    run the tests
# make lab                                     open the notebooks in JupyterLab
# make data                                    download the Kaggle pictures and audio into data/gtzan

# make report                                  run the notebooks in place for the report, and put the results into README
# make test-browser                            open the notebooks in JupyterLab and Chromium, and run them
# make test-newcomer                           clone into an empty folder, and run README's two commands there
# make bench                                   measure how long things take, and beside what
# Each line is one call of run.py, which works without make, too. DATA names a Kaggle download, or a set of your own.

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/ready
OLD := 'This Python is older than 3.11: name another, as in make PYTHON=python3.12'
# A name reaches run.py as it was typed, whatever signs are in it: unexpanded, in the environment. A variable of the
# shell that happens to be called MODEL or DATA is none of ours.
typed = $(if $(findstring command,$(origin $1)),$(value $1))
export GENRES_DATA := $(call typed,DATA)
export GENRES_SONGS := $(call typed,SONGS)
export GENRES_MODEL := $(call typed,MODEL)
unexport DATA SONGS MODEL MAKEFLAGS MAKEOVERRIDES
# An environment whose Python has gone is made anew.
ifneq ($(shell test -x $(PY) && echo there),there)
.PHONY: $(READY)
endif

.PHONY: pipeline songs test lab data report test-browser test-newcomer bench

pipeline songs report bench: $(READY)
	@$(PY) run.py $@

data: $(READY)
	@$(PY) run.py data

test: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest

test-browser: $(READY)
	$(PY) -m pytest -m browser -rs tests/test_browser.py

test-newcomer: $(READY)
	$(PY) -m pytest -m newcomer -rs tests/test_newcomer.py

lab: $(READY)
	$(PY) -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01_data_exploration.ipynb

$(READY): requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and $(OLD))"
	@$(PY) -c "import sys, pip; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --requirement requirements.txt
	$(PY) -c "from genres.spectrogram import compile_librosa; compile_librosa()"
	touch $(READY)
