"""Overrides for the settings at the top of a script: files and --key=value arguments.

A file is executed in the script's own globals, so it may compute one setting from another.
"""

import sys

SIMPLE = (bool, int, float, str)


def configure(settings, arguments):
    """Apply arguments from left to right to settings; return the script's keys and their values.

    Every public global of a simple type is a key. A mistake ends the process with exit code 1.
    """
    keys = [k for k, v in settings.items() if type(v) in SIMPLE and not k.startswith("_")]
    for argument in arguments:
        if argument.startswith("--"):
            key, equals, text = argument[2:].partition("=")
            if not equals:
                fail(f"{argument}: write --{key}=value")
            if key not in keys:
                fail(f"Unknown config key: {key}. The keys are {', '.join(sorted(keys))}")
            settings[key] = read(key, text, type(settings[key]))
            print(f"Overriding: {key} = {settings[key]}")
        else:
            run(argument, settings)
    return {key: settings[key] for key in keys}


def run(path, settings):
    """Execute a file of settings."""
    try:
        with open(path, encoding="utf-8") as file:
            source = file.read()
    except OSError as error:
        fail(f"{path}: {error.strerror}; arguments are files of settings, or --key=value")
    print(f"Overriding config with {path}:")
    print(source)
    exec(compile(source, path, "exec"), settings)


def read(key, text, kind):
    """The value that a text means for a key; a whole number will do where a float is expected."""
    if kind is str:
        return text
    if kind is bool:
        if text not in ("True", "False"):
            fail(f"--{key}={text}: expected True or False")
        return text == "True"
    try:
        return kind(text)
    except ValueError:
        fail(f"--{key}={text}: expected {'a whole number' if kind is int else 'a number'}")


def fail(message):
    """Say what is wrong, and exit with 1."""
    sys.exit(message)
