"""A store that was copied, or put back to an older copy of itself, goes on as a client of its own."""

from ..errors import ProblemReceived
from ..store.store import Store
from ..transport.messages import member
from . import outbox, pulled

#: The problem by which the server tells.
CODE = "client_copied"


def adopt_own_name(store: Store, problem: ProblemReceived) -> None:
    """Take the name that the server gives. All that has yet to be sent is sent under it, and no step counts twice."""
    pulled.discard_staged(store)
    outbox.take_back_unsent(store)
    checkpoint = problem.problem.get("checkpoint")
    with store.transaction():
        store.put(client=member(problem.problem, "client", str), receipt="", registered=False)
        if isinstance(checkpoint, str):
            store.put(checkpoint=checkpoint)
