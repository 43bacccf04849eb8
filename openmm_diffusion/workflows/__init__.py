"""What takes a model to another model, to files, or to a table: made of all below."""
