"""The built-in agent: draws an operator, applies it, says what it expects and why."""

from collections.abc import Mapping, Sequence

from darwin_git.domain.learning.lesson import Reflection
from darwin_git.ports import (
    Assignment,
    Conflict,
    Declined,
    Dialog,
    Proposal,
    Repair,
    Review,
)


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

    def propose(self, assignment: Assignment) -> Dialog[Proposal | Declined]:
        """The drawn operator that applies; a pure function of the assignment."""
        yield from ()
        return self._chosen(assignment)

    def _chosen(self, assignment: Assignment) -> Proposal | Declined:
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

    def repair(self, assignment: Assignment, broken: Repair) -> Dialog[Proposal | Declined]:
        """The catalogue cannot mend."""
        yield from ()
        return Declined(broken.failure.reason)

    def resolve(
        self, assignment: Assignment, conflicts: Sequence[Conflict]
    ) -> Dialog[Mapping[str, str] | Declined]:
        """Nor can it resolve a conflict."""
        yield from ()
        return Declined("built-in operators resolve no conflicts")

    def reflect(self, review: Review) -> Dialog[Reflection | Declined]:
        """It learns by its outcomes' numbers, not by words."""
        yield from ()
        return Declined("built-in operators do not reflect")
