"""What definitions and twins are tried on, one generator for each definition, named like it."""
