"""The tag that `manage.py check --tag bus` selects by."""

BUS = "bus"
