"""What a search has of the pictures: their kept embeddings, found quickly. No torch, no model.

cosines   of a query to many embeddings, exact or by an index
mirror    the embeddings of the store, in files that are mapped into memory
index     the nearest of very many without looking at all, by a library (extra "approximate")
upkeep    what `imgrank cache` does with the files of both
"""
