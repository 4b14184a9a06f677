"""The mistakes can still be made: each patch applies to the product as it is, and somebody catches it."""

from pathlib import Path

import pytest

from tests.mutants.checkout import PROJECT, Checkout, PatchFailed
from tests.mutants.table import MUTANTS, PATCHES


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("mutants") / "checkout")


def test_every_patch_applies_and_is_python_still(checkout: Checkout) -> None:
    for mutant in MUTANTS:
        before = _sources(checkout)
        checkout.apply(mutant.patch)
        changed = {path: text for path, text in _sources(checkout).items() if before.get(path) != text}
        checkout.take_back(mutant.patch)

        assert len(changed) == 1, mutant.name
        for path, text in changed.items():
            compile(text, path, "exec")
        assert _sources(checkout) == before, mutant.name


def test_a_patch_that_does_not_fit_fails_loudly(checkout: Checkout, tmp_path: Path) -> None:
    text = MUTANTS[0].patch.read_text()
    stale = tmp_path / "stale.patch"
    stale.write_text("\n".join(line + "?" if line.startswith("-  ") else line for line in text.split("\n")))

    with pytest.raises(PatchFailed, match=r"stale\.patch does not apply"):
        checkout.apply(stale)


def test_every_patch_is_in_the_table_and_says_what_it_breaks() -> None:
    assert sorted(mutant.name for mutant in MUTANTS) == sorted(path.stem for path in PATCHES.glob("*"))
    for mutant in MUTANTS:
        assert mutant.sentence.endswith("."), mutant.name
        assert mutant.tests, mutant.name


def test_every_test_that_is_named_is_there() -> None:
    for mutant in MUTANTS:
        for test in mutant.tests:
            path, _, name = test.partition("[")[0].partition("::")
            assert f"def {name}(" in (PROJECT / path).read_text() if name else (PROJECT / path).exists(), test


def _sources(checkout: Checkout) -> dict[str, str]:
    return {str(path): path.read_text() for path in (checkout.directory / "syncreset").rglob("*.py")}
