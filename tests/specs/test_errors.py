"""Problems: one line each, with a place, and a code whose meaning is written down."""

import re
from pathlib import Path

import specs
from specs.errors import CODES, Severity, SpecErrors, SpecProblem, nearest, suggestion


def test_every_code_in_use_has_a_meaning_and_no_meaning_is_unused() -> None:
    used: set[str] = set()
    specs_folder = Path(str(specs.__file__)).parent
    of_facts = (specs_folder.parent / "clusterctl").glob("*_rules.py")
    for file in (*specs_folder.glob("*.py"), *of_facts):
        text = file.read_text()
        used |= set(re.findall(r"\b[EW]\d{4}\b", text.split("\nCODES")[0]))
    assert used == set(CODES)


def test_a_problem_is_one_printable_line() -> None:
    problem = SpecProblem("a\x1b[31m.yaml", 3, 5, "spec.a\nb", "odd \x85", "E0102")
    assert str(problem) == "a?[31m.yaml:3:5  spec.a?b: odd ? [E0102]"


def test_a_problem_of_a_whole_file_and_a_warning_say_so() -> None:
    problem = SpecProblem("a.yaml", 0, 0, "", "too large", "E0002", Severity.WARNING)
    assert str(SpecErrors(problem, problem)) == "\n".join(
        ["a.yaml  warning: too large [E0002]"] * 2
    )


def test_the_nearest_word_is_meant_in_any_case() -> None:
    assert nearest("adress", ["address", "interface"]) == ", did you mean 'address'?"
    assert nearest("SESSIONttl", ["sessionTTL"]) == ", did you mean 'sessionTTL'?"
    assert nearest("max", ["window", "maxFailures"]) == ", did you mean 'maxFailures'?"
    assert nearest("xyz", ["window"]) == ""
    assert nearest("x" * 10**6, ["window"]) == ""


def test_without_a_near_word_few_words_are_all_listed() -> None:
    assert suggestion("q", ["a", "b"], "installed") == "; installed: a, b"
    assert suggestion("q", []) == ""
    assert suggestion("q", [f"word{n}" for n in range(40)]) == ""
