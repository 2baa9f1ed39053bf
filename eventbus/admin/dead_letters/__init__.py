"""Dead letters in admin."""

from eventbus.admin.dead_letters import groups, letters, replays

__all__ = ["groups", "letters", "replays"]
