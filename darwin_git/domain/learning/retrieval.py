"""Which lessons a mutator is shown: relevance to its assignment, few, and of different kinds."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop
from types import MappingProxyType

from darwin_git.domain.learning.lesson import Lesson, LessonKind, words_in

SHOWN = 6
"""HealthFlow's cap, as is the one of two of a kind (its retrieval policy)."""
PER_KIND = 2
IN_SCOPE, IN_TEXT = 3.0, 1.0
"""What a shared word counts: a choice. A scope says where a lesson holds, a text also how."""


@dataclass(frozen=True)
class Index:
    """The live lessons of a shelf, and where words stand in them.

    Attributes:
        lessons: those that are not retired.
        confidences: of each.
        scopes: word -> places in `lessons` of those that have it in their scope.
        texts: word -> places of those that have it in their text only.
    """

    lessons: tuple[Lesson, ...]
    confidences: tuple[float, ...]
    scopes: Mapping[str, Sequence[int]]
    texts: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, lessons: Iterable[Lesson]) -> "Index":
        """Sort the live lessons by their words."""
        live = tuple(lesson for lesson in lessons if not lesson.retired)
        scopes: dict[str, list[int]] = defaultdict(list)
        texts: dict[str, list[int]] = defaultdict(list)
        for place, lesson in enumerate(live):
            scope = words_in(" ".join(lesson.scope))
            for word in scope:
                scopes[word].append(place)
            for word in words_in(lesson.text):
                if word not in scope:
                    texts[word].append(place)
        return cls(live, tuple(lesson.confidence for lesson in live), scopes, texts)

    def weights(self, word: str) -> tuple[tuple[float, Sequence[int]], ...]:
        """What a word counts, and where.

        A word that many lessons have says little of each: it counts log(1 + N / n) / log(1 + N)
        where n of N lessons have it (inverse document frequency, Spärck Jones 1972).
        """
        scopes, texts = self.scopes.get(word, ()), self.texts.get(word, ())
        if not scopes and not texts:
            return ()
        total = len(self.lessons)
        rarity = math.log1p(total / (len(scopes) + len(texts))) / math.log1p(total)
        return (IN_SCOPE * rarity, scopes), (IN_TEXT * rarity, texts)


class Shelf(dict[str, Lesson]):
    """Lessons by id, as a fold left them: in the order of ids, never changed.

    Attributes:
        loose: (shown, helped, retired) of ids that events name and no event wrote so far; the
            order of lines must not matter, so a later fold goes on from them.
    """

    def __init__(
        self,
        lessons: Mapping[str, Lesson] = MappingProxyType({}),
        loose: Mapping[str, tuple[int, int, str]] = MappingProxyType({}),
    ) -> None:
        super().__init__(sorted(lessons.items()))
        self.loose = dict(sorted(loose.items()))

    @cached_property
    def index(self) -> Index:
        """The words of all live lessons, made once."""
        return Index.of(self.values())


def retrieve(
    lessons: Mapping[str, Lesson],
    words: frozenset[str],
    *,
    limit: int = SHOWN,
    per_kind: int = PER_KIND,
) -> list[Lesson]:
    """The lessons to show, the most relevant first.

    The score is the weight of the words shared with the assignment, plus the confidence. Of one
    kind with one scope only the best is shown. Ties go to the newer lesson, then to the smaller
    id; retired lessons are never shown.

    Args:
        lessons: a fold's shelf keeps its index; another mapping is indexed for this call.
        words: what `words_of` makes of an assignment.
    """
    index = (lessons if isinstance(lessons, Shelf) else Shelf(lessons)).index
    scores = list(index.confidences)
    for word in sorted(words):  # sorted: sums of floats depend on the order
        for weight, there in index.weights(word):
            for place in there:
                scores[place] += weight
    ranked = [
        (-score, -lesson.generation, lesson.id, lesson)
        for score, lesson in zip(scores, index.lessons, strict=True)
    ]
    heapify(ranked)  # a few are taken of many: sorting them all costs more
    chosen: list[Lesson] = []
    places: Counter[LessonKind] = Counter()
    taken: set[tuple[LessonKind, frozenset[str]]] = set()
    while ranked and len(chosen) < limit:
        lesson = heappop(ranked)[-1]
        if places[lesson.kind] < per_kind and (lesson.kind, lesson.scope) not in taken:
            chosen.append(lesson)
            places[lesson.kind] += 1
            taken.add((lesson.kind, lesson.scope))
    return chosen


def words_of(
    ideas: Iterable[str] = (),
    files: Iterable[str] = (),
    failures: Iterable[str] = (),
    strategy: str = "",
) -> frozenset[str]:
    """An assignment's words.

    Args:
        ideas: those that the target has, and the latest tried on it.
        files: paths that may be changed; what every path has (`py`) weighs next to nothing.
        failures: classes that the target's latest variants failed with.
        strategy: the mutator's, one word or the user's own text.
    """
    return words_in(" ".join([*ideas, *files, *failures, strategy[:4000]]))
