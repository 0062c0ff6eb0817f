"""How a graph gets run."""
