"""A finished run -> its rows and what made them, from its folder alone."""
