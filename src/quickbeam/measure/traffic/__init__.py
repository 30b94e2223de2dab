"""Loading a server: requests as they come in real life, and what became of each."""
