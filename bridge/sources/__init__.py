"""The ways in: each turns what came into arrivals, and acknowledges what was stored."""
