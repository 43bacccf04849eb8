def draw(table, lives, path):
    pass
