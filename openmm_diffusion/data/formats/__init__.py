"""Files of one format each: what they hold, and what they say of their particles."""
