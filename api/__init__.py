"""HTTP as this project speaks it: problems, strict JSON, queries, pages, tokens, and requests that may be repeated."""
