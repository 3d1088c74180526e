# ruff: noqa
import sys

for argument in sys.argv[1:]:
    if argument.startswith("--"):
        key, text = argument[2:].split("=")
        globals()[key] = type(globals()[key])(text)
    else:
        exec(open(argument).read())
