def draw_rdf(*a):
    pass


def draw_errors(*a):
    pass
