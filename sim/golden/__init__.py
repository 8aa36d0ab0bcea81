"""Golden model: one numpy function an operator."""
