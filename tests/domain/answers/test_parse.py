"""Answers as models really write them: the same edits, or a refusal that says what to do."""

import json
import re
import time

import pytest

from darwin_git.domain.answers.edits import Edit
from darwin_git.domain.answers.parse import EXAMPLE, FORMAT, Answer, AnswerRefused, parse

PATHS = ("model.py", "train.py", "config/tiny.py")
HEADER = '{"idea": "no-dropout", "title": "Drop dropout", "why": "A paper.", "expected": "-1 %"}'
BLOCK = "<<<<<<< SEARCH\nold = 1\n=======\nnew = 2\n>>>>>>> REPLACE"
WANTED = (Edit("model.py", "replace", "old = 1\n", "new = 2\n"),)
WHOLE = (Edit("model.py", "write", text="new = 2\n"),)


def edits(text: str) -> tuple[Edit, ...]:
    return parse(text, PATHS).edits


def reason(text: str) -> str:
    with pytest.raises(AnswerRefused) as caught:
        parse(text, PATHS)
    assert len(caught.value.reason) < 1300
    return caught.value.reason


def test_the_example_of_the_prompt_is_a_good_answer() -> None:
    assert EXAMPLE in FORMAT
    answer = parse(EXAMPLE, PATHS)
    assert (answer.idea, answer.title) == ("no-dropout", "Train without dropout")
    assert answer.why.startswith("one epoch cannot overfit")
    assert answer.expected == "lower loss from the first evaluation on"
    old, new = "        self.dropout = config.dropout\n", "        self.dropout = 0.0\n"
    assert answer.edits == (Edit("model.py", "replace", old, new),)


WILD = {
    "plain": f"model.py\n{BLOCK}",
    "prose around": f"I will do it.\n\nmodel.py\n{BLOCK}\n\nThis should help.\n",
    "in a fence": f"```python\nmodel.py\n{BLOCK}\n```",
    "path before the fence": f"model.py\n```python\n{BLOCK}\n```",
    "path, empty line, fence": f"model.py\n\n```\n{BLOCK}\n```",
    "path in the info string": f"```python model.py\n{BLOCK}\n```",
    "path after a colon": f"```python:model.py\n{BLOCK}\n```",
    "path as a title": f'```python title="model.py"\n{BLOCK}\n```',
    "path alone as info": f"```model.py\n{BLOCK}\n```",
    "path as a comment": f"```python\n# model.py\n{BLOCK}\n```",
    "path as a comment in the search": BLOCK.replace("old", "# model.py\nold"),
    "./": f"./model.py\n{BLOCK}",
    "backticks": f"`model.py`\n{BLOCK}",
    "bold": f"**model.py**\n{BLOCK}",
    "bold with a colon": f"**`model.py`:**\n{BLOCK}",
    "File:": f"File: model.py\n{BLOCK}",
    "bold File:": f"**File:** `model.py`\n{BLOCK}",
    "heading": f"### model.py\n{BLOCK}",
    "heading with a number": f"#### 1. `model.py`\n{BLOCK}",
    "diff pair": f"a/model.py b/model.py\n{BLOCK}",
    "note": f"model.py (updated)\n{BLOCK}",
    "prose that names it": f"In `model.py`, change the constant:\n\n```python\n{BLOCK}\n```",
    "label": BLOCK.replace("SEARCH", "SEARCH model.py"),
    "bare label": BLOCK.replace("SEARCH", "model.py"),
    "thinking": f"<think>\ntrain.py\n{BLOCK.replace('2', '3')}\n</think>\nmodel.py\n{BLOCK}",
    "thinking never closed": f"<think>\nI could do this.\n\nmodel.py\n{BLOCK}",
    "thinking never opened": f"train.py\n{BLOCK}\nno…\n</think>\n\nmodel.py\n{BLOCK}",
    "four backticks": f"````python\nmodel.py\n{BLOCK}\n````",
    "tildes": f"~~~python\nmodel.py\n{BLOCK}\n~~~",
    "nested fences": f"````markdown\nmodel.py\n```python\n{BLOCK}\n```\n````",
    "one fence around all": f"```\n```json\n{HEADER}\n```\nmodel.py\n```python\n{BLOCK}\n```\n```",
    "no closing fence": f"```python\nmodel.py\n{BLOCK}",
    "indented": "1. Do this:\n\n" + re.sub("(?m)^", "   ", f"```\nmodel.py\n{BLOCK}\n```"),
    "CRLF": f"model.py\n{BLOCK}\n".replace("\n", "\r\n"),
    "white space behind markers": re.sub(r"(?m)([A-Z=])$", r"\1  ", f"model.py\n{BLOCK}"),
    "five characters": "model.py\n<<<<< SEARCH\nold = 1\n=====\nnew = 2\n>>>>> REPLACE",
    "nine characters": "model.py\n<<<<<<<<< SEARCH\nold = 1\n=========\nnew = 2\n>>>>>>>>> REPLACE",
    "uneven markers": "model.py\n<<<<<<< SEARCH\nold = 1\n========\nnew = 2\n>>>>>> REPLACE",
    "other words": "model.py\n<<<<<<< ORIGINAL\nold = 1\n=======\nnew = 2\n>>>>>>> UPDATED",
    "git's words": "model.py\n<<<<<<< HEAD\nold = 1\n=======\nnew = 2\n>>>>>>> branch",
    "lower case": "model.py\n<<<<<<< search\nold = 1\n=======\nnew = 2\n>>>>>>> replace",
    "marker said twice": f"model.py\n{BLOCK}\n>>>>>>> REPLACE\n",
    "said twice": f"model.py\n{BLOCK}\n\nAgain in full:\n\nmodel.py\n{BLOCK}",
    "diff": "```diff\n--- a/model.py\n+++ b/model.py\n@@ -99,7 +99,7 @@ def f():\n-old = 1\n"
    "+new = 2\n```",
    "diff of git": "```diff\ndiff --git a/model.py b/model.py\nindex 1..2 100644\n--- a/model.py\n"
    "+++ b/model.py\n@@ -1 +1 @@\n-old = 1\n+new = 2\n\\ No newline at end of file\n```",
    "diff without prefixes": "```diff\n--- model.py\n+++ model.py\n@@ ... @@\n"
    "-old = 1\n+new = 2\n```",
    "diff in prose": "Like this:\n\n--- a/model.py\n+++ b/model.py\n@@ -1 +1 @@\n"
    "-old = 1\n+new = 2\n",
    "diff under a path": "model.py\n```diff\n-old = 1\n+new = 2\n```",
    "patch": "*** Begin Patch\n*** Update File: model.py\n@@ def f():\n-old = 1\n+new = 2\n"
    "*** End Patch",
    "patch in a fence": "```\n*** Begin Patch\n*** Update File: model.py\n@@\n-old = 1\n+new = 2\n"
    "*** End Patch\n```",
    "dashes and pluses": "model.py\n------- SEARCH\nold = 1\n=======\nnew = 2\n+++++++ REPLACE",
    "tags": "model.py\n<search>\nold = 1\n</search>\n<replace>\nnew = 2\n</replace>",
    "tags of other names": "model.py\n<old_str>\nold = 1\n</old_str>\n\n<new_str>\nnew = 2\n"
    "</new_str>",
    "path in a tag": f"<path>model.py</path>\n{BLOCK}",
    "path with a line": f"model.py:17\n{BLOCK}",
    "Chinese": f"\u4fee\u6539\u6587\u4ef6\uff1amodel.py\n{BLOCK}",
    "Chinese prose": f"\u5728model.py\u4e2d\u4fee\u6539\uff1a\n{BLOCK}",
    "before and after": "In `model.py`:\n\n**Before:**\n```python\nold = 1\n```\n\n**After:**\n"
    "```python\nnew = 2\n```\nThat is all.",
    "words for markers": "model.py\nSEARCH:\n```\nold = 1\n```\nREPLACE:\n```\nnew = 2\n```",
    "replace, with": "### model.py\n\nReplace this:\n```\nold = 1\n```\nwith:\n```\nnew = 2\n```",
    "change, to": "In model.py, change\n```\nold = 1\n```\nto\n```\nnew = 2\n```",
    "after a closing tag": f"<plan>\nDo it.\n</plan>\n```json\n{HEADER}\n```\nmodel.py\n{BLOCK}",
    "header under the path": f"model.py\n```json\n{HEADER}\n```\n\nIn `model.py`:\n{BLOCK}",
    "json by file": json.dumps({"edits": {"model.py": [{"old": "old = 1\n", "new": "new = 2\n"}]}}),
    "json of a file's edits": json.dumps(
        {"files": [{"path": "model.py", "edits": [{"old": "old = 1\n", "new": "new = 2\n"}]}]}
    ),
    "blocks in json": json.dumps({"why": "so", "edits": f"model.py\n{BLOCK}\n"}),
    "json": json.dumps(
        {"edits": [{"path": "model.py", "search": "old = 1\n", "replace": "new = 2\n"}]}
    ),
    "fenced json": "```json\n"
    + json.dumps({"changes": [{"file": "./model.py", "old": "old = 1\n", "new": "new = 2\n"}]})
    + "\n```",
}


@pytest.mark.parametrize("text", WILD.values(), ids=WILD.keys())
def test_wild_forms_are_the_same_edit(text: str) -> None:
    assert edits(text) == WANTED
    assert edits(f"```json\n{HEADER}\n```\n\n{text}") == WANTED


FILES = {
    "info": "```python model.py\nnew = 2\n```",
    "line before": "model.py\n```python\nnew = 2\n```",
    "heading": "### `model.py`\n\n```python\nnew = 2\n```",
    "comment": "```python\n# model.py\nnew = 2\n```",
    "only one is spoken of": "Here is the new `model.py` in full:\n\n```python\nnew = 2\n```",
    "json": json.dumps({"files": {"model.py": "new = 2\n"}}),
    "in markdown": "```markdown\nIntro.\n\n```python model.py\nnew = 2\n```\n```",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_whole_files(text: str) -> None:
    assert edits(text) == WHOLE


def test_several_blocks_stand_under_one_path_and_across_files() -> None:
    second = BLOCK.replace("old = 1", "b = 1")
    found = edits(f"model.py\n```\n{BLOCK}\n\n{second}\n```\nthen\n\ntrain.py\n{BLOCK}")
    assert [(edit.path, edit.search) for edit in found] == [
        ("model.py", "old = 1\n"),
        ("model.py", "b = 1\n"),
        ("train.py", "old = 1\n"),
    ]


def test_new_files_and_deletions() -> None:
    new = Edit("rope.py", "replace", "", "x = 1\n")
    assert edits("rope.py\n<<<<<<< SEARCH\n=======\nx = 1\n>>>>>>> REPLACE") == (new,)
    assert edits("```python rope.py\nx = 1\n```") == (Edit("rope.py", "write", text="x = 1\n"),)
    assert edits("```diff\n--- /dev/null\n+++ b/rope.py\n@@ -0,0 +1 @@\n+x = 1\n```") == (new,)
    add = "*** Begin Patch\n*** Add File: rope.py\n+x = 1\n*** End Patch"
    assert edits(add) == (new,)
    gone = (Edit("train.py", "delete"),)
    assert edits("*** Delete File: train.py") == gone
    assert edits("```diff\n--- a/train.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n```") == gone
    assert edits('{"edits": [{"path": "train.py", "action": "delete"}]}') == gone
    assert edits(f"model.py\n{BLOCK}\n\n*** Delete File: train.py\n") == WANTED + gone


def test_an_indented_divider_is_a_line_of_the_file() -> None:
    body = '    Title\n    =======\n=======\n    """Title."""\n'
    found = edits(f"model.py\n<<<<<<< SEARCH\n{body}>>>>>>> REPLACE")
    assert found[0].search == "    Title\n    =======\n"
    assert "9 characters" in reason(f"model.py\n<<<<<<< SEARCH\na\n=======\n{body}>>>>>>> REPLACE")
    long = "model.py\n<<<<<<<<< SEARCH\na\n=======\nb\n=========\nc\n>>>>>>> x\n>>>>>>>>> REPLACE"
    assert edits(long) == (Edit("model.py", "replace", "a\n=======\nb\n", "c\n>>>>>>> x\n"),)


HEADERS = {
    "fenced": f"```json\n{HEADER}\n```",
    "bare": HEADER,
    "over lines": json.dumps(json.loads(HEADER), indent=2),
    "trailing comma": "```json\n" + HEADER.replace("}", ",}") + "\n```",
    "single quotes": "```json\n" + HEADER.replace('"', "'") + "\n```",
    "broken": '```json\n{\n"idea": "no-dropout",\n"title": "Drop dropout"\n"why": "A paper."\n'
    '"expected": "-1 %"\n}\n```',
    "lines": "IDEA: no-dropout\nTitle: Drop dropout\nWhy: A paper.\nExpected: -1 %",
    "bold lines": "**Idea:** no-dropout\n**Title**: Drop dropout\n- **Why:** A\n  paper.\n"
    "- **Expected effect:** -1 %",
}


@pytest.mark.parametrize("head", HEADERS.values(), ids=HEADERS.keys())
def test_headers(head: str) -> None:
    expected = Answer("no-dropout", "Drop dropout", "A paper.", "-1 %", WANTED)
    assert parse(f"{head}\n\nmodel.py\n{BLOCK}", PATHS) == expected


def test_a_list_of_files_in_the_header_is_no_edit() -> None:
    head = {"idea": "x", "title": "T", "files": {"train.py": "what changes there"}}
    assert edits(f"```json\n{json.dumps(head)}\n```\nmodel.py\n{BLOCK}") == WANTED


def test_a_missing_header_is_derived() -> None:
    spoken = parse(f"Replace the constant by two. It helps.\n\nmodel.py\n{BLOCK}", PATHS)
    assert spoken.title == "Replace the constant by two"
    assert spoken.idea == "replace-the-constant-by"
    silent = parse(f"model.py\n{BLOCK}", PATHS)
    assert (silent.title, silent.idea) == ("Change model.py", "change-model-py")


def test_headers_that_are_no_json_are_read_all_the_same() -> None:
    tex = r'{"idea": "a", "title": "Scale by $\sqrt{d}$", "why": "$\mathrm{x}$", "expected": ""}'
    answer = parse(f"```json\n{tex}\n```\nmodel.py\n{BLOCK}", PATHS)
    assert (answer.title, answer.why) == (r"Scale by $\sqrt{d}$", r"$\mathrm{x}$")
    bare = '{"idea": "b", "title": "Use "squared" ReLU", "why": "So, "2021"", "expected": "less"}'
    answer = parse(f"```json\n{bare}\n```\nmodel.py\n{BLOCK}", PATHS)
    assert (answer.idea, answer.title) == ("b", 'Use "squared" ReLU')
    assert (answer.why, answer.expected) == ('So, "2021"', "less")


def test_ideas_in_other_letters_have_names_of_their_own() -> None:
    names = {
        parse(json.dumps({"idea": idea}) + f"\n\nmodel.py\n{BLOCK}", PATHS).idea
        for idea in ("\u5e73\u65b9\u6fc0\u6d3b", "\u65cb\u8f6c\u4f4d\u7f6e")
    }
    assert len(names) == 2
    assert all(re.fullmatch("idea-[0-9a-f]{8}", name) for name in names)


def test_a_forged_title_is_one_clean_line() -> None:
    header = json.dumps({"idea": "x\n\x1b[31mY" * 40, "title": "T\n\nDarwin-Agent: a9\x1b[2J" * 9})
    answer = parse(f"```json\n{header}\n```\nmodel.py\n{BLOCK}", PATHS)
    assert re.fullmatch(r"[a-z0-9-]{1,40}", answer.idea)
    assert len(answer.title) <= 72
    assert answer.title.isprintable()


REFUSED = {
    "empty": ("", "empty"),
    "prose": ("I would rather not.", "no edits"),
    "no path": (BLOCK, "which file"),
    "two files spoken of": (f"Both `model.py` and `train.py` change:\n{BLOCK}", "which file"),
    "snippet without a file": ("Like so:\n```python\nx = 1\n```", "which file"),
    "snippet for two": ("`model.py` and `train.py`:\n```python\nx = 1\n```", "which file"),
    "excerpt": ("```12:20:model.py\nx = 1\n```", "which file"),
    "cut in the replacement": (f"model.py\n{BLOCK[:-12]}", "cut off"),
    "cut in the search": (f"model.py\n{BLOCK[:18]}", "cut off"),
    "cut at the marker": (f"model.py\n{BLOCK}\n\ntrain.py\n<<<<", "cut off"),
    "cut in a file": ("```python model.py\nx = 1\ny =", "cut off"),
    "cut in a patch": ("*** Begin Patch\n*** Update File: model.py\n-old = 1\n+ne", "cut off"),
    "cut in a diff": ("```diff\n--- a/model.py\n+++ b/model.py\n@@ -1,4 +1,4 @@\n-a", "cut off"),
    "cut in json": ('```json\n{"edits": [{"path": "model.py", "sea', "cut off"),
    "block without an end": (f"model.py\n{BLOCK[:-16]}\n{BLOCK}", "no >>>>>>> REPLACE"),
    "end without a block": ("model.py\nold\n=======\nnew\n>>>>>>> REPLACE", "without a"),
    "no divider": ("model.py\n<<<<<<< SEARCH\na\n>>>>>>> REPLACE", "no ======="),
    "options": (
        f"## Option A\nmodel.py\n{BLOCK}\n## Option B\nmodel.py\n{BLOCK.replace('old', 'a')}",
        "alternatives",
    ),
    "alternatively": (
        f"model.py\n{BLOCK}\nAlternatively:\nmodel.py\n{BLOCK.replace('old', 'a')}",
        "alternatives",
    ),
    "or": (f"model.py\n{BLOCK}\n\n**Or:**\ntrain.py\n{BLOCK}", "alternatives"),
    "if that fails": (
        f"model.py\n{BLOCK}\nIf that fails, try this:\ntrain.py\n{BLOCK}",
        "alternatives",
    ),
    "two ideas in headings": (
        f"### Idea 1\nmodel.py\n{BLOCK}\n### Idea 2\ntrain.py\n{BLOCK}",
        "alternatives",
    ),
    "ordinals": (
        f"First option:\nmodel.py\n{BLOCK}\n**Second option:**\ntrain.py\n{BLOCK}",
        "alternatives",
    ),
    "a number for a list": (json.dumps([{"path": "model.py", "edits": 5}]), "no edit"),
    "only what was there": ("model.py\n\nBefore:\n```python\nold = 1\n```", "no edits"),
    "two ideas": (f'{HEADER}\nmodel.py\n{BLOCK}\n\n{{"idea": "b"}}\n', "alternatives"),
    "two files in one place": ("```model.py\na\n```\n```model.py\nb\n```", "alternatives"),
    "two replacements": (f"model.py\n{BLOCK}\n{BLOCK.replace('2', '3')}", "alternatives"),
    "file and edit": (f"```model.py\na\n```\nmodel.py\n{BLOCK}", "only one"),
    "rename": ("```diff\n--- a/model.py\n+++ b/model.py\nrename from a\n```", "moves a file"),
    "insertion by number": (
        "```diff\n--- a/model.py\n+++ b/model.py\n@@ -3,0 +4 @@\n+x\n```",
        "line numbers are not read",
    ),
    "too long": ("x" * 3_000_000, "too long"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_clear_is_refused(text: str, why: str) -> None:
    assert why in reason(text)


@pytest.mark.parametrize(
    "name",
    [
        "in a fence",
        "diff",
        "diff of git",
        "diff in prose",
        "patch",
        "patch in a fence",
        "json",
        "fenced json",
        "indented",
        "dashes and pluses",
        "tags",
        "before and after",
        "blocks in json",
    ],
)
def test_an_answer_cut_anywhere_never_gives_half_an_edit(name: str) -> None:
    second = WILD[name].replace("old = 1", "b = 1").replace("model.py", "train.py")
    text = f"{WILD[name]}\n\nAnd then:\n\n{second}\n"
    whole = set(WANTED) | {Edit("train.py", "replace", "b = 1\n", "new = 2\n")}
    if "json" not in name:
        assert set(edits(text)) == whole
    for length in range(len(text)):
        try:
            found = edits(text[:length])
        except AnswerRefused:
            continue
        assert set(found) <= whole, text[:length]


def test_commands_to_run_are_no_files() -> None:
    assert edits(f"model.py\n{BLOCK}\n\nRun `train.py`:\n```bash\npython train.py\n```") == WANTED


def test_hostile_paths_arrive_as_they_are_and_never_as_another_file() -> None:
    for path in ("../model.py", "/etc/passwd", ".git/hooks/pre-commit", "..\\model.py", "C:/x.py"):
        assert [edit.path for edit in edits(f"{path}\n{BLOCK}")] == [path]


UNITS = ["<<<<<<< SEARCH\n", "`", "```\n", "=======\n", "{", " ", ">", '{"', "- ", "`a.py` "]
UNITS += ["<think>", "<think></think>\n", "*** Add File: x\n", "```a\n````b\n"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_mebibyte_of_one_thing_is_refused_quickly(unit: str) -> None:
    started = time.process_time()
    reason(unit * (2**20 // len(unit)))
    assert time.process_time() - started < 2
