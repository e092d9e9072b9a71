# make pipeline [DATA=folder] [SONGS=folder]   run all notebooks; executed copies in data/<set>/executed
# make test                                    run the tests
# make lab                                     open the notebooks in JupyterLab
# make data                                    download the Kaggle pictures and audio into data/gtzan

# make protocol SPLIT=name SEED=n              train one row of the protocol and print it
# make report                                  run the notebooks in place for the report, and put the results into README
# make test-browser                            open the notebooks in JupyterLab and Chromium, and run them
# make test-newcomer                           clone into an empty folder, and run README's two commands there
# make bench                                   measure how long things take, and beside what
# DATA=folder names a Kaggle download for each of them; else it is looked for in data/gtzan

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/ready
DATA ?=
SONGS ?=
SPLIT ?= random
SEED ?= 0
# The report trains seventeen networks for 60 epochs; the pipeline one of each kind for 40, and for 6 on the demo songs.
# The reference's two train for 50 in the report and for 20 and 2 here.
ONE_RUN := -p protocol_seeds 1 -p protocol_folds 0
DEMO := $(ONE_RUN) -p epochs 6
# Notebook 05 reads the networks of 03, so both get the same epochs, seeds and folds.
STORY ?= 01_data_exploration 02_build_csv_and_split 03_train_cnn 04_test_personal_songs 05_feature_baseline

# glibc gives each large tensor back to the system and asks for it again in the next step; to keep the memory takes
# a third off the reference's training time. Elsewhere these are words that nobody reads.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 4000000000
# NumPy's products are small here: a second thread of its BLAS waits more than it works, and texture takes a fifth longer.
export OPENBLAS_NUM_THREADS := 1

.PHONY: pipeline test lab data report protocol test-browser test-newcomer bench

# Nobody waits for what notebooks 00, 01 and 04 make, so they run beside the others, one at a time: there may be only
# two cores. The demo songs are made before, by processes that multiprocessing forks where the system can: they need
# not import torch again.
pipeline: $(READY)
	@set -e; \
	name=$$($(PY) -c "import joblib, utils; joblib.parallel_config('multiprocessing'); \
	  print(utils.call_from_make(utils.find_dataset, '$(DATA)').name)"); \
	echo "$$name"; name=$$(echo "$$name" | tail -n 1); \
	mkdir -p data/$$name/executed; \
	if [ $$name = demo ]; then export OMP_WAIT_POLICY=passive; fi; \
	run() { \
	  case $$name-$$1 in \
	    gtzan-00_*) return;; \
	    demo-00_*) settings="-p excerpt_seconds 5";; \
	    demo-03_*) settings="$(DEMO) -p reference_epochs 2";; \
	    demo-04_*) export OMP_NUM_THREADS=1; settings="-p explained_songs 2 -p page_pictures 5 -p search_clips 3";; \
	    demo-05_*) settings="$(DEMO) -p whole_model False -p most_songs 3";; \
	    gtzan-03_*) settings="$(ONE_RUN) -p epochs 40 -p reference_epochs 20";; \
	    gtzan-05_*) settings="$(ONE_RUN) -p epochs 40";; \
	    *) settings="";; \
	  esac; \
	  copy=data/$$name/executed/$$1.ipynb; \
	  echo "== $$copy"; \
	  $(PY) -m papermill --cwd notebooks notebooks/$$1.ipynb $$copy \
	    -p data_folder "$(DATA)" -p songs_folder "$(SONGS)" $$settings; \
	}; \
	(run 00_demo_songs; run 01_data_exploration) & look=$$!; \
	run 02_build_csv_and_split; run 03_train_cnn; \
	run 04_test_personal_songs & songs=$$!; \
	run 05_feature_baseline; \
	wait $$look; wait $$songs

test: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest

test-browser: $(READY)
	$(PY) -m pytest -m browser -rs tests/test_browser.py

test-newcomer: $(READY)
	$(PY) -m pytest -m newcomer -rs tests/test_newcomer.py

bench: $(READY)
	@$(PY) tests/bench.py "$(DATA)"

protocol: $(READY)
	@$(PY) -c "import utils; utils.call_from_make(utils.print_protocol_row, '$(DATA)', '$(SPLIT)', $(SEED))"

# The folders go in by the environment and not as parameters, so that no path of a machine is in a committed notebook.
report: $(READY)
	@set -e; for name in $(STORY); do \
	  GTZAN="$(DATA)" SONGS="$(SONGS)" $(PY) -m jupyter nbconvert --to notebook --execute --inplace \
	    --ExecutePreprocessor.record_timing=False notebooks/$$name.ipynb; \
	done
	$(PY) -c "import utils; utils.write_report(utils.call_from_make(utils.find_dataset, '$(DATA)'))"

lab: $(READY)
	$(PY) -m jupyter lab notebooks/01_data_exploration.ipynb

data: $(READY)
	@$(PY) -c "import utils; utils.call_from_make(utils.download_gtzan)"

$(READY): requirements.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --requirement requirements.txt
	$(PY) -c "import utils; utils.compile_librosa()"
	touch $(READY)
