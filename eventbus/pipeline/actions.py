"""What a person does with one delivery, from the page of what it belongs to. Commands and admin do the same to many."""

from eventbus.dead_letters.replays import start_replay
from eventbus.dead_letters.selection import Selection
from eventbus.retries.services import hurry


def replay_letter(letter_id: int, *, by: str) -> bool:
    """Send a dead letter to its consumer again; False where it is not open any more."""
    return start_replay(Selection(ids=[letter_id]), by=by) is not None


def hurry_retry(retry_id: int, *, by: str) -> bool:
    """Have a retry that waits sent at once; False where it has been by now."""
    return hurry(ids=[retry_id], by=by) > 0
