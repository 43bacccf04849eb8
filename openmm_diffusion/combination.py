"""Sums of models: members of an ensemble, noise levels of an extrapolation, pair terms joined into one."""


def merged(denoiser):
    """The same energy with all pair terms of the same knots in one: fewer terms to evaluate.

    A joined term knows the noise levels that its parts stood at, and no range any more.

    Parameters
    ----------
    denoiser : Denoiser

    Returns
    -------
    Denoiser
        The very one, where there is nothing to join.
    """
    joined, terms, modules = {}, [], []
    for term, module in zip(denoiser.header.terms, denoiser.modules()):
        knots = (term.cutoff, term.start, term.spacing) if term.kind == "pair" else None
        if knots not in joined:
            if knots:
                joined[knots] = (len(terms), [])
            terms.append(term)
            modules.append(module)
        if knots:
            joined[knots][1].append(term.weight * module.coefficients)
    if len(terms) == len(denoiser.header.terms):
        return denoiser
    for place, _ in joined.values():
        terms[place] = terms[place].model_copy(update={"weight": 1.0, "sigmas": None})
        modules[place] = modules[place].single()
    other = denoiser.rebuilt(terms, modules)
    for place, coefficients in joined.values():
        other.modules()[place].coefficients.copy_(sum(coefficients))
    return other
