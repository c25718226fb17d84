"""What happens to the user's files: copy, link, move, rename, and all of it taken back.

    rows ── planning.py ─► Plan ── operation.py ─► files
                                     │ ▲
    what was planned and done: journal.py ── undoing.py: takes it back, or finishes it

These are photographs that exist once. What holds here, whatever goes wrong:

* No file is ever overwritten, and none is deleted but copies and links that this room made itself,
  while what they were made of is still there, unchanged.
* The whole plan is on disk, synced, before the first change (`journal.py`); every change is one
  atomic step of the file system (`disk.py`), so that a plan cut off anywhere can be taken back or
  finished by looking at what is there.
* A picture and its companions (`companions.py`) stay together: all of them go, or none.

No torch, no click; only `disk.py` changes anything on disk.
"""
