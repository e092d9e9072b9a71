# make pipeline [DATA=folder] [SONGS=folder]   run all notebooks; executed copies in data/<set>/executed
# make test                                    run the tests
# make lab                                     open the notebooks in JupyterLab
# make data                                    download the Kaggle pictures and audio into data/gtzan

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/ready
DATA ?=
SONGS ?=

.PHONY: pipeline test lab data

pipeline: $(READY)
	@set -e; \
	name=$$($(PY) -c "import utils; print(utils.find_dataset('$(DATA)').name)" | tee /dev/stderr | tail -n 1); \
	mkdir -p data/$$name/executed; \
	for notebook in notebooks/0*.ipynb; do \
	  copy=data/$$name/executed/$$(basename $$notebook); \
	  case $$name-$$copy in gtzan-*/00_*) continue;; esac; \
	  echo "== $$copy"; \
	  $(PY) -m papermill --cwd notebooks $$notebook $$copy -p data_folder "$(DATA)" -p songs_folder "$(SONGS)"; \
	done

test: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest

lab: $(READY)
	$(PY) -m jupyter lab notebooks/01_data_exploration.ipynb

data: $(READY)
	@$(PY) -c "import utils; utils.download_gtzan()"

$(READY): requirements.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --requirement requirements.txt
	touch $(READY)
