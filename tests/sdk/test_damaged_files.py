"""Damaged files on the device: whatever can be read arrives, what cannot is told, and syncing goes on."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from syncreset.sdk import (
    LogoutRefused,
    Replica,
    ReplicaError,
    Request,
    Response,
    ServerUnavailable,
    StoreDamaged,
)
from syncreset.sdk.reset.journal import Journal
from tests.support.damage import (
    Scene,
    assert_told,
    at_work,
    missing,
    opened,
    overwrite,
    pages,
    synced,
)
from tests.support.fleet import same_as_server, sync
from tests.support.simulated_server import SimulatedServer


@pytest.fixture
def in_use(server: SimulatedServer, tmp_path: Path) -> Scene:
    return at_work(server, tmp_path, reset=False)


@pytest.fixture
def set_aside(server: SimulatedServer, tmp_path: Path) -> Scene:
    return at_work(server, tmp_path, reset=True)


def assert_goes_on(replica: Replica, server: SimulatedServer, case: object) -> None:
    """New work is pushed, and the replica is the server's image."""
    replica.create("farm.animal", pk="later", name="Written after the damage")
    replica.sync()
    assert "later" in server.fields("farm.animal"), case
    assert same_as_server(replica, server), case


@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "noise"])
def test_any_damaged_page_of_a_backup_costs_no_more_than_what_stands_on_it(
    server: SimulatedServer, set_aside: Scene, zeros: bool
) -> None:
    name = set_aside.backup
    count = pages(set_aside.files / name)
    assert len(count) > 15
    losses = []
    for page in count if zeros else count[::3]:
        with set_aside.case(page) as path:
            overwrite(path.with_name(name), page, zeros=zeros)
            damaged = path.with_name(name).read_bytes()
            with opened(path, server) as replica:
                report = synced(replica)
                losses.append(len(assert_told(replica, server, case=page)))
                assert report.pending == 0, page
                assert_goes_on(replica, server, page)
                assert path.with_name(name).read_bytes() == damaged, page
                (backup,) = replica.backups()
                if losses[-1]:
                    assert backup.path in report.damaged, page
                    assert backup.damaged is not None, page
    assert sorted(losses)[len(losses) // 2] == 0
    assert sum(lost == 80 for lost in losses) <= 6, losses


@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "noise"])
def test_any_damaged_page_of_the_store_in_use_is_told_and_salvaged(
    server: SimulatedServer, in_use: Scene, zeros: bool
) -> None:
    losses = []
    count = pages(in_use.files / "field.db")
    for page in count if zeros else count[1::3]:
        with in_use.case(page) as path:
            overwrite(path, page, zeros=zeros)
            try:
                with opened(path, server) as replica:
                    replica.sync()
            except ReplicaError as error:
                assert isinstance(error, StoreDamaged), (page, error)
                assert error.path == path
            with opened(path, server, salvage=True) as replica:
                synced(replica)
                losses.append(len(assert_told(replica, server, case=page)))
                assert_goes_on(replica, server, page)
    assert sorted(losses)[len(losses) // 2] == 0
    assert sum(lost == 80 for lost in losses) <= 6, losses


def test_a_store_cut_anywhere_is_told_and_salvaged(server: SimulatedServer, in_use: Scene) -> None:
    size = (in_use.files / "field.db").stat().st_size
    for length in [0, 1, 15, 16, 99, 100, 511, 512, 1000, 4095, 4096, 4097, *range(8192, size, 9000)]:
        with in_use.case(length) as path:
            with path.open("rb+") as content:
                content.truncate(length)
            try:
                with opened(path, server) as replica:
                    replica.sync()
            except StoreDamaged as error:
                assert error.path == path
            with opened(path, server, salvage=True) as replica:
                synced(replica)
                assert_told(replica, server, case=length)
                assert_goes_on(replica, server, length)
                assert [backup.reason for backup in replica.backups()] == ["store_damaged"], length


def test_a_file_that_is_no_database_is_told_and_kept(server: SimulatedServer, in_use: Scene) -> None:
    with in_use.case("letter") as path:
        path.write_text("A letter, and no database. " * 500)
        with pytest.raises(StoreDamaged, match="salvage=True"):
            opened(path, server)
        with opened(path, server, salvage=True) as replica:
            with pytest.raises(StoreDamaged, match="nothing can be read") as told:
                replica.sync()
            assert told.value.report is not None
            assert replica.sync().damaged == ()
            assert_goes_on(replica, server, "letter")
            (backup,) = replica.backups()
            assert (backup.state, backup.path.read_text()[:8]) == ("unreadable", "A letter")
            with pytest.raises(LogoutRefused):
                replica.safe_logout()
            replica.delete_backup(backup)
            replica.safe_logout()
            assert not list(path.parent.glob("field.db*"))


def test_a_sound_store_opened_with_salvage_is_left_alone(server: SimulatedServer, in_use: Scene) -> None:
    with in_use.case("sound") as path, opened(path, server, salvage=True) as replica:
        replica.sync()
        assert missing(server) == set()
        assert replica.backups() == []


def test_a_damaged_backup_is_never_deleted_by_cleaning_up(server: SimulatedServer, set_aside: Scene) -> None:
    with set_aside.case("cleanup") as path:
        overwrite(path.with_name(set_aside.backup), 12, zeros=True)
        with opened(path, server, keep_backups=0.0) as replica:
            for _ in range(3):
                synced(replica)
            (backup,) = replica.backups()
            assert backup.path.exists()
            replica.delete_backup(backup)
            assert not list(path.parent.glob("*backup*"))


def test_what_can_be_read_of_a_damaged_backup_is_exported_and_shown(
    server: SimulatedServer, set_aside: Scene
) -> None:
    with set_aside.case("export") as path:
        overwrite(path.with_name(set_aside.backup), 12, zeros=True)
        with opened(path, None) as replica:
            assert replica.export_pending(path.with_name("export")) > 50
            (backup,) = replica.backups()
            with replica.open_backup(backup) as before:
                assert len(before.all("farm.animal")) > 100


def test_a_backup_that_is_gone_is_told_once_and_blocks_nothing(
    server: SimulatedServer, set_aside: Scene
) -> None:
    with set_aside.case("gone") as path:
        path.with_name(set_aside.backup).unlink()
        with opened(path, server) as replica:
            with pytest.raises(StoreDamaged, match="nothing can be read"):
                replica.sync()
            assert replica.sync().reset is None
            assert_goes_on(replica, server, "gone")


def test_callbacks_get_what_can_be_read_of_a_damaged_backup(
    server: SimulatedServer, set_aside: Scene
) -> None:
    seen: list[int] = []
    with set_aside.case("callbacks") as path:
        overwrite(path.with_name(set_aside.backup), 12, zeros=True)
        with opened(
            path,
            server,
            mode="recover",
            on_before=lambda before: seen.append(before.pending()),
            on_after=lambda before, live: seen.append(before.pending()),
        ) as replica:
            synced(replica)
    assert len(seen) == 2
    assert all(40 < count <= 80 for count in seen)


def test_a_journal_cut_anywhere_loses_nothing(server: SimulatedServer, set_aside: Scene) -> None:
    content = (set_aside.files / "field.db.resets").read_bytes()
    for length in range(0, len(content), 97):
        with set_aside.case(length) as path:
            journal = path.with_name("field.db.resets")
            journal.write_bytes(content[:length])
            with opened(path, server) as replica:
                report = replica.sync()
                assert missing(server) == set(), length
                assert_goes_on(replica, server, length)
                aside = [found for found in report.damaged if ".resets.damaged-" in found.name]
                assert [found.read_bytes() for found in aside] == [content[:length]], length
                assert replica.sync().damaged == ()


def test_a_journal_with_any_byte_changed_loses_nothing(server: SimulatedServer, set_aside: Scene) -> None:
    content = (set_aside.files / "field.db.resets").read_bytes()
    for place in range(5, len(content), 131):
        with set_aside.case(place) as path:
            changed = content[:place] + bytes([content[place] ^ 0x15]) + content[place + 1 :]
            path.with_name("field.db.resets").write_bytes(changed)
            with opened(path, server) as replica:
                replica.sync()
                assert missing(server) == set(), place


def test_a_journal_that_is_gone_is_made_anew_from_the_backups(
    server: SimulatedServer, set_aside: Scene
) -> None:
    with set_aside.case("no journal") as path:
        path.with_name("field.db.resets").unlink()
        path.unlink()
        with opened(path, server) as replica:
            replica.sync()
            assert missing(server) == set()
            assert_goes_on(replica, server, "no journal")


def test_a_store_sealed_for_a_reset_that_the_journal_has_lost_is_not_deleted(
    server: SimulatedServer, in_use: Scene
) -> None:
    with in_use.case("sealed") as path:
        with sqlite3.connect(path) as shell:
            shell.execute("UPDATE _syncreset_clock SET mode = 2")
        shell.close()
        with opened(path, server) as replica:
            replica.sync()
            assert missing(server) == set()


def test_an_upload_whose_file_is_gone_is_written_anew(server: SimulatedServer, set_aside: Scene) -> None:
    with set_aside.case("upload") as path, opened(path, server) as replica:

        def without_its_file(request: Request) -> Response:
            if request.method == "POST" and request.path.endswith("/snapshot"):
                raise ServerUnavailable("no answer")
            return server.answer(request)

        with pytest.raises(ServerUnavailable):
            sync(replica, without_its_file)
        path.with_name(set_aside.backup + ".snapshot").unlink()

        replica.sync()

        assert missing(server) == set()


def test_every_cut_of_a_journal_can_be_read_up_to_the_cut(set_aside: Scene) -> None:
    store = set_aside.files / "field.db"
    file = store.with_name("field.db.resets")
    content = file.read_bytes()
    whole = Journal(store)
    # Without the end of its last line it is whole all the same.
    for length in range(len(content) - 1):
        file.write_bytes(content[:length])
        journal = Journal(store)
        assert journal.damaged, length
        assert journal.records in ((), whole.records), length
        assert {record.name for record in (*journal.records, *journal.found())} == {set_aside.backup}, length


def test_a_damaged_copy_of_a_backup_beside_the_store_is_no_backup(
    server: SimulatedServer, set_aside: Scene
) -> None:
    with set_aside.case("copy") as path:
        backup = path.with_name(set_aside.backup)
        shutil.copyfile(backup, path.with_name(backup.name + ".old"))
        with opened(path, server) as replica:
            replica.sync()
            assert len(replica.backups()) == 1
