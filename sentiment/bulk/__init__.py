"""Bulk scoring: the engine without HTTP, for files, tables and clusters.

A window of rows is the unit of everything: of what is sorted by length, of what a resumed run
need not do again, and of memory.
"""
