"""How fast a network runs, how much it computes, and the reference beside it."""
