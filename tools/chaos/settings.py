"""Settings of the processes under `script/chaos`: production's, a consumer that counts, and breakages if asked for.

Nothing else reads CHAOS_BREAKAGE and CHAOS_CONFIRM_TIMEOUT: under other settings they do nothing.
"""

from config.environment import env
from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

# Last: what it breaks has been imported by then.
INSTALLED_APPS = [*INSTALLED_APPS, "tools.chaos"]
EVENTBUS_FAILPOINTS_ALLOWED = True
CHAOS_BREAKAGE = env.str("CHAOS_BREAKAGE", default="")
#: Seconds; 0 leaves the product's own. Trials cannot wait for half a minute.
CHAOS_CONFIRM_TIMEOUT = env.float("CHAOS_CONFIRM_TIMEOUT", default=0)
