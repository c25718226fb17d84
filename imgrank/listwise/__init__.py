"""Answers of a model that looks at several pictures at once: how it is asked, how what it writes is
read, how windows of a few pictures become one order of many."""
