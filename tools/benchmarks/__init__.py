"""What the pipeline costs, measured beside the plain way of doing the same. Run by `script/bench`."""
