"""Metrics: what is counted where it happens and kept in the database, and what is read when somebody asks.

A counter in the memory of a process is lost with it, and of several processes behind one port a scraper sees one. So
each process adds what it has counted to one table, with each of its signs of life.
"""
