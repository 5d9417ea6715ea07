from __future__ import annotations

from packaging.requirements import Requirement

from msqnet.diagnosis import packages


def test_dependency_that_is_missing_or_too_old_is_a_problem_with_the_command_that_mends_it() -> (
    None
):
    absent = packages._dependency(Requirement("a-package-that-nobody-has>=2"))
    assert (absent.status, absent.value) == ("problem", "not installed")
    assert absent.advice == "pip install 'a-package-that-nobody-has>=2'"
    old = packages._dependency(Requirement("numpy<1"))
    assert old.status == "problem"
    assert old.value.startswith("2.")
    assert packages._dependency(Requirement("numpy>=2")).status == "ok"


def test_build_with_a_local_version_counts_as_its_release() -> None:
    assert packages._dependency(Requirement("torch>=2.11")).status == "ok"


def test_optional_part_names_what_is_missing_of_it() -> None:
    requirements = [
        Requirement("numpy>=2; extra == 'one'"),
        Requirement("a-package-that-nobody-has; extra == 'two'"),
        Requirement("msqnet[one]; extra == 'two'"),
        Requirement("never-wanted; extra == 'one' and python_version < '3'"),
    ]
    found = {finding.name: finding for finding in packages._extras(requirements)}
    assert found["msqnet[one]"].status == "ok"
    assert found["msqnet[two]"].status == "note"
    assert found["msqnet[two]"].value == "missing: a-package-that-nobody-has"
    assert found["msqnet[two]"].advice == "pip install 'msqnet[two]'"


def test_every_dependency_of_this_installation_has_a_line() -> None:
    names = {finding.name for finding in packages.package_findings()}
    assert {"Python", "msqnet", "torch", "transformers", "av", "msqnet[serve]"} <= names
