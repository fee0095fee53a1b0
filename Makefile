.PHONY: demo test lab
demo test lab:
	python3 sq.py $@
