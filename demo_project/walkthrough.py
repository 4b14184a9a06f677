"""`make demo`: two inspectors work offline; a device is reset, a release breaks the schema, the server loses a morning.

And nothing is lost. The environment changes what it plays on: `PORT` (8000), `DATABASE_URL`, `REDIS_URL`, and `SERVE=0`
ends after the walk-through instead of staying up.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx

from demo_project import (
    configured,  # noqa: F401  it comes first, for the others need Django to be set up
    services,
)
from demo_project.acts import conflict, disaster, offline, release, reset
from demo_project.acts.cast import Cast
from demo_project.inspector import log_in
from demo_project.operator import AdminRefused
from demo_project.ramp.people import PASSWORD
from demo_project.stage import Stage, StageFailed
from demo_project.telling import StoryFailed, act, console
from syncreset.sdk import ReplicaError


def main() -> int:
    """Play it. Returns 0 if everything ended as it must, 1 if something did not, 2 if it cannot be played here."""
    serve = os.environ.get("SERVE", "1") != "0"
    stage = Stage(port=int(os.environ.get("PORT", "8000")), redis_url=os.environ.get("REDIS_URL"))
    console.print("[b]syncreset[/b]: ramp checks at New York's airports, offline and back\n")
    try:
        with services.signals_as_interrupt():
            stage.prepare()
            play(stage, serve=serve)
    except KeyboardInterrupt:
        console.print("\nStopped: all processes have ended.")
        return 130
    except (StageFailed, services.ServiceFailed) as error:
        console.print(f"The demo cannot run: {error}", style="red", markup=False)
        return 2
    except (StoryFailed, AdminRefused, ReplicaError, httpx.HTTPError) as error:
        console.print(f"This should not have happened: {error}", style="red", markup=False)
        return 1
    return 0


def play(stage: Stage, *, serve: bool) -> None:
    """The story, from the first download to the last comparison. Between two releases the services are down."""
    with ExitStack() as devices:
        with serving(stage):
            ada, ben = (
                devices.enter_context(log_in(name, stage.url, stage.directory / "devices"))
                for name in ("ada", "ben")
            )
            cast = Cast(stage=stage, ada=ada, ben=ben)
            with act("Ada and Ben, both at JFK, download what they may hold"):
                rows = offline.begin(cast)
            with act("Both go offline and work; Ada is back first"):
                offline.work(cast, rows)
            with act("The administrator forces a reset of Ben's device, which has not synced yet"):
                recovered = reset.force(cast, rows)
            with act("The administrator undoes that recovery, and has it done again"):
                reset.undo_and_repeat(cast, recovered)
            with act("One defect, two severities: the administrator decides"):
                conflict.decide(cast)
            with act("Ben goes offline once more, with the app's first release"):
                added = release.work_offline(cast, rows)
        with act("Meanwhile the second release is deployed, and breaks the schema"):
            release.deploy(stage)
        with serving(stage):
            with act("Ben and Ada come back to the second release"):
                release.come_back(cast, rows, added)
            with act("At night the database is copied; a morning's work follows, all of it synced"):
                stage.back_up()
                before = disaster.work_all_morning(cast, rows)
        with act("Disaster: the database is replaced by last night's copy"):
            disaster.strike(cast, before)
        with serving(stage):
            with act("Both come back, and what their devices hold heals the server"):
                disaster.heal(cast)
                disaster.compare(cast, before)
            with act("One more conflict, for you"):
                page = conflict.leave_one(cast)
            if serve:
                stay_up(stage, page)


@contextmanager
def serving(stage: Stage) -> Iterator[None]:
    """The services of the deployed release, until the block ends."""
    with ExitStack() as stack:
        with console.status("starting the server, a worker and Redis"):
            stack.enter_context(stage.up())
        yield


def stay_up(stage: Stage, page: str) -> None:
    """Leave everything running until Ctrl-C."""
    console.print(f"\nIt waits for your decision (user [b]admin[/b], password [b]{PASSWORD}[/b]):")
    console.print(f"   {stage.url}{page}", soft_wrap=True)
    console.print(f"The demo stays up at [b]{stage.url}[/b]. Ctrl-C ends it.")
    with suppress(KeyboardInterrupt):
        while True:
            signal.pause()
    console.print("\nStopping: all processes end.")


if __name__ == "__main__":
    sys.exit(main())
