"""Which tests catch which mistake.

A name is that of a patch in ``patches/``, whose first line says what it breaks. The tests are pytest's arguments. Of
schedules (``tests/simulation``) the seed is named, and how many there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PATCHES = Path(__file__).resolve().parent / "patches"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One mistake, and what catches it."""

    name: str
    tests: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def patch(self) -> Path:
        return PATCHES / f"{self.name}.patch"

    @property
    def sentence(self) -> str:
        """What it breaks."""
        return self.patch.read_text().partition("\n")[0]


def _caught(name: str, *tests: str, **env: str) -> Mutant:
    return Mutant(name=name, tests=tuple(f"tests/{test}" for test in tests), env=env)


_COUNTED = "recovery/test_counted_once.py"
_RETURN = "recovery/test_order_of_return.py"
_SYNC = "sync/test_sync.py"
_MERGE = "rules/test_merge.py"

MUTANTS = (
    _caught("steps-counted-twice", "apply/test_counters.py", f"{_COUNTED}"),
    _caught("step-of-another-row-counted", "apply/test_counters.py"),
    _caught(
        "step-older-than-the-purge-counted",
        f"{_COUNTED}::test_a_step_older_than_what_was_purged_waits_for_a_person",
    ),
    _caught(
        "receipt-not-compared", "sdk/test_resets.py::test_a_receipt_that_says_something_else_is_no_receipt"
    ),
    _caught("receipts-chain-forgets", f"{_SYNC}::test_a_push_whose_answer_was_lost_may_come_with_more"),
    _caught("copy-taken-for-the-original", f"{_SYNC}::test_a_copy_of_a_store_goes_on_as_a_client_of_its_own"),
    _caught("lost-push-unnoticed", f"{_SYNC}::test_a_server_that_has_lost_a_push_orders_a_reset"),
    _caught(
        "backup-given-up-before-its-proof", f"{_RETURN}::test_a_receipt_that_no_pull_has_followed_is_no_proof"
    ),
    _caught("refused-change-forgotten-before-its-proof", _RETURN),
    _caught("unanswered-push-is-made-anew", "sdk/test_syncing.py", "sdk/test_steps.py"),
    _caught("unsent-edit-overwritten-by-a-pull", "sdk/test_syncing.py", "sdk/test_simulation.py"),
    _caught(
        "half-a-pull-shown",
        "sdk/test_syncing.py::test_pages_are_committed_together_and_an_interrupted_pull_goes_on",
    ),
    _caught("slow-answer-believed", "sdk/test_clock.py"),
    _caught("unseen-edit-deleted", _MERGE),
    _caught("deletion-without-knowledge", _MERGE),
    _caught("equal-clocks-decided-by-arrival", _MERGE),
    _caught("base-ignored", _MERGE),
    _caught("clocks-run-backwards", _MERGE),
    _caught("client-clock-not-clamped", "protocol/test_clock.py"),
    _caught("overtaken-push-applied", "sync/test_fences.py"),
    _caught("gate-asked-before-the-lock", "sync/test_fences.py"),
    _caught("repeated-push-answered-otherwise", f"{_SYNC}", "apply/test_counters.py"),
    _caught("loser-of-a-conflict-without-an-item", "sync/test_losers.py"),
    _caught("page-passes-what-it-served", f"{_SYNC}::test_pages_of_one_row_bring_the_same_as_one_page"),
    _caught(
        "children-before-their-parents",
        f"{_SYNC}::test_a_bootstrap_brings_the_rows_of_the_users_scopes_parents_first",
    ),
    _caught("departed-sent-as-deleted", "clients/test_scopes.py"),
    _caught("answers-proven-by-an-older-checkpoint", _RETURN),
    _caught(
        "overtaken-number-trusted",
        "recovery/test_recovery.py::test_a_restored_server_that_has_overtaken_the_number_is_found_out",
    ),
    _caught("purge-horizon-forgotten", "operations/test_purge.py"),
    _caught("forged-checkpoint-believed", "clients/test_genuine.py"),
    _caught("scope-after-the-write-unchecked", "clients/test_scopes.py"),
    _caught(
        "read-only-ignored-when-healing",
        "recovery/test_one_gate.py::test_no_road_brings_what_no_client_may_write[shelters.dog-intake_no-N-1-healing]",
    ),
    _caught("cascade-unseen", "apply/test_cascades.py"),
    _caught("bisect-drops-the-good-half", f"{_SYNC}::test_one_bad_change_never_fails_the_others"),
    _caught(
        "group-written-in-part", f"{_SYNC}::test_a_group_is_not_written_where_the_database_refuses_a_member"
    ),
    _caught("swapped-values-not-let-go", "apply/test_swaps.py"),
    _caught("lease-not-compared", "recovery/test_leases.py"),
    _caught("fence-not-compared", "recovery/test_leases.py"),
    _caught("undo-leaves-a-row", "recovery/test_review.py::test_undo_gives_back_the_rows_as_they_were"),
    _caught("undone-step-stays-counted", "recovery/test_snapshot_steps.py"),
    _caught(
        "preview-writes",
        "recovery/test_review.py::test_a_preview_has_the_ledger_of_the_real_run_and_writes_nothing",
    ),
    _caught("line-merged-again-after-a-kill", "recovery/test_invariants.py"),
    _caught("clash-not-merged-again", "recovery/test_recovery.py::test_rows_of_one_cycle_meet_over_chunks"),
    _caught("lost-value-of-a-healed-row-dropped", _RETURN),
    _caught("explained-question-stays-open", "recovery/test_snapshot_steps.py"),
    _caught("deletion-by-absence-of-unseen-rows", "recovery/test_absence.py", "recovery/test_strategies.py"),
    _caught("sha256-not-compared", "api/test_snapshots_hostile.py"),
    _caught(
        "counted-steps-purged-early", f"{_COUNTED}::test_a_purge_forgets_no_step_that_may_still_come_again"
    ),
)
