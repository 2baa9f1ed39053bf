"""Dead letters in Django admin: groups first, then letters, then replays."""

from eventbus.dead_letters.admin import groups, letters, replays

__all__ = ["groups", "letters", "replays"]
