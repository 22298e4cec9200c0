"""The names of other versions and libraries, over the same network."""
