"""What is kept between runs, in one SQLite file: `store` (the door), `values`, `digest`.

No torch here; numpy only where an array is read or written.
"""
