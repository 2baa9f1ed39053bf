#!/usr/bin/env python
"""Django's command line for the order pipeline."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A setting is wrong: its name and what to do say all, and where we noticed says nothing.
        sys.exit(f"manage.py: {error}")
