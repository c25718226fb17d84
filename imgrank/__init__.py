"""imgrank: sort folders of pictures by a plain instruction."""
