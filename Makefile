# make pipeline [DATA=folder] [SONGS=folder]   run all notebooks; results in data/<set>/run
# make songs SONGS=folder [MODEL=file]         the genres of your songs, by the shipped model
# make test                                    run the tests
# make lab                                     open the notebooks in JupyterLab
# make data                                    download the Kaggle pictures and audio into data/gtzan

# make protocol SPLIT=name SEED=n              train one row of the protocol and print it
# make report                                  run the notebooks in place for the report, and put the results into README
# make test-browser                            open the notebooks in JupyterLab and Chromium, and run them
# make test-newcomer                           clone into an empty folder, and run README's two commands there
# make bench                                   measure how long things take, and beside what
# Each line is one call of run.py, which works without make, too. DATA names a Kaggle download, or a set of your own.

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/ready
DATA ?=
SONGS ?=
MODEL ?=
SPLIT ?= random
SEED ?= 0
# In the environment a name reaches run.py as it is, whatever signs are in it.
export GENRES_DATA := $(DATA)
export GENRES_SONGS := $(SONGS)
export GENRES_MODEL := $(MODEL)

.PHONY: pipeline songs test lab data report protocol test-browser test-newcomer bench

pipeline songs report bench: $(READY)
	@$(PY) run.py $@

protocol: $(READY)
	@$(PY) run.py protocol --split $(SPLIT) --seed $(SEED)

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
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --requirement requirements.txt
	$(PY) -c "from genres.spectrogram import compile_librosa; compile_librosa()"
	touch $(READY)
