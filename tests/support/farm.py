"""Three animals, work done offline on them, and what must be on the server once that work has arrived."""

from syncreset.sdk import Replica
from tests.support.simulated_server import SimulatedServer


def stock(server: SimulatedServer) -> None:
    """The rows a1 to a3."""
    for number in (1, 2, 3):
        server.put("farm.animal", f"a{number}", name=f"Dog {number}", age=number)


def work_offline(replica: Replica) -> None:
    """One change of each kind to the rows a1 to a3."""
    replica.update("farm.animal", "a1", age=30)
    replica.delete("farm.animal", "a2")
    barn = replica.create("farm.barn", pk="b1", name="North")
    replica.create("farm.animal", pk="a4", name="Luna", barn=barn)


def assert_the_work_arrived(server: SimulatedServer) -> None:
    animals = server.fields("farm.animal")
    assert set(animals) == {"a1", "a3", "a4"}
    assert (animals["a1"]["age"], animals["a4"]["barn"]) == (30, "b1")
    assert server.fields("farm.barn") == {"b1": {"name": "North"}}
