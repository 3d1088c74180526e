"""The built-in agent: draws an operator, applies it, says what it expects and why."""

from collections.abc import Sequence

from darwin_git.domain.trial import Screened
from darwin_git.ports import Assignment, Declined, Proposal


class CatalogueAgent:
    """A Proposer that needs no model.

    Args:
        families: draw from these families of operators only; all where empty.
    """

    signature = "catalogue"
    builtin = True
    gpu = None

    def __init__(self, families: Sequence[str] = ()) -> None:
        self._families = frozenset(families)

    def propose(self, assignment: Assignment) -> Proposal | Declined:
        """The drawn operator that applies; a pure function of the assignment."""
        import numpy as np

        from darwin_git.agents import operators

        any_code = assignment.contract == "command"
        outcomes = operators.comparable(assignment.outcomes) if any_code else assignment.outcomes
        view = operators.GenomeView(assignment.files, assignment.train, assignment.frozen)
        rng = np.random.default_rng(assignment.seed)
        if any_code:
            offered = operators.constants(assignment.files, assignment.mutable)
        else:
            # A named idea is taken once for a lineage; a number may be raised twice.
            offered = [o for o in operators.CATALOGUE.values() if o.name not in assignment.present]
            offered += operators.numeric(view)
        pool = [
            o
            for o in offered
            if o.name not in assignment.tried and (not self._families or o.family in self._families)
        ]
        while pool:
            if assignment.control == "random":
                chosen = pool[int(rng.integers(len(pool)))]
            else:
                chosen = operators.draw(pool, outcomes, rng)[0]
            changed = operators.apply(chosen, view)
            if changed is not None and changed.keys() <= assignment.mutable:
                return Proposal(
                    files=changed,
                    idea=chosen.name,
                    subject=chosen.title,
                    hypothesis=chosen.why,
                    expected=chosen.expected,
                    trailers={"Darwin-Operator": chosen.name},
                )
            pool.remove(chosen)
        return Declined("no operator of the catalogue applies to this parent any more")

    def repair(self, assignment: Assignment, proposal: Proposal, failure: Screened) -> Declined:
        """The catalogue cannot mend."""
        return Declined(failure.reason)
