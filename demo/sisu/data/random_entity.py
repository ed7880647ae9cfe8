"""The random content of made-up entities: ids of other entities, texts, dates and odd numbers.

An entity's content depends on the seed, its service and its index only, so that any entity can be made at any time,
in any order, and refer to any other that does not exist yet.
"""

import datetime as dt
import json
from collections.abc import Mapping
from hashlib import blake2b
from random import Random
from typing import Any

import orjson

Content = dict[str, Any]

ROOT_ORG_ID = "hy-university-root-id"

_NUMBERED = {
    "PERSON": ("hy-hlo-", 10_000_000),
    "ORGANISATION": ("hy-org-", 1_000_000),
    "CURRICULUM_PERIOD": ("hy-lv-", 60),
    "LOCATION": ("hy-loc-", 1_000),
}
_DEFAULT_COUNT = 100
"""The number of entities that references are distributed over if their service is not served."""

# All are valid JSON, and none survives a parser that converts numbers to floats.
_ODD_NUMBERS = [
    orjson.Fragment(text) for text in (b"5.0", b"1e2", b"12345678901234567890", b"0.10", b"-0.0", b"1E+2", b"2.50")
]
_ODD_TEXTS = [
    "Hyv\u00e4 \U0001f393",
    'sanoi "kyll\u00e4"',
    "tab\tja rivi\n",
    "a/b\\c",
    "\u00c5bo \u2028 line",
    "\u0007",
]

_SENTENCES = {
    "fi": (
        "Opiskelija tuntee alan keskeiset käsitteet ja osaa soveltaa niitä.",
        "Kurssin suoritettuaan opiskelija osaa arvioida omaa oppimistaan.",
        "Opintojaksolla perehdytään tieteellisen ajattelun perusteisiin.",
        "Työskentely tapahtuu pienryhmissä ja/tai harjoituksissa.",
        "Arviointi perustuu kirjalliseen tenttiin ja oppimispäiväkirjaan.",
        "Ilmoittautuminen päättyy viikkoa ennen opetuksen alkua.",
    ),
    "sv": (
        "Studenten känner till de centrala begreppen inom området.",
        "Efter avslutad kurs kan studenten tillämpa metoderna i praktiken.",
        "Undervisningen består av föreläsningar, övningar och/eller grupparbete.",
        "Bedömningen grundar sig på en skriftlig tentamen.",
        "Kursen förutsätter goda förkunskaper och självständigt arbete.",
    ),
    "en": (
        "The student knows the key concepts of the field and can apply them.",
        "Upon completion the student is able to read scientific literature.",
        "The course introduces the methods through worked examples.",
        "Teaching consists of lectures, exercises and independent study.",
        "Grading is based on an exam and/or on weekly assignments.",
        "Attendance at the first session is compulsory.",
    ),
}
_EPOCH = dt.datetime(2010, 1, 1, tzinfo=dt.UTC)
_DAYS = 16 * 365


def entity_id(seed: int, service: str, index: int) -> str:
    """Return the id of a service's entity number `index`."""
    if service in _NUMBERED:
        prefix, first = _NUMBERED[service]
        return f"{prefix}{first + index}"
    digest = blake2b(f"{seed}/{service}/{index}".encode(), digest_size=16).hexdigest()
    return f"otm-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


class EntityRandom:
    """The random values of one entity. Two instances for the same entity return the same sequence of values."""

    def __init__(self, seed: int, counts: Mapping[str, int], service: str, index: int) -> None:
        self._seed = seed
        self._counts = counts
        self.index = index
        self.random = Random(f"{seed}/{service}/{index}")

    def count(self, service: str) -> int:
        """Return the number of entities of another service that can be referred to."""
        return self._counts.get(service) or _DEFAULT_COUNT

    def ref(self, service: str, index: int | None = None) -> str:
        """Return the id of an entity of another service: of any, or of the one that belongs to `index`."""
        count = self.count(service)
        return entity_id(self._seed, service, self.below(count) if index is None else index % count)

    def student(self) -> tuple[str, str]:
        """Return the ids of a person and of one of their study rights."""
        study_right = self.below(self.count("STUDY_RIGHT"))
        return self.ref("PERSON", study_right), self.ref("STUDY_RIGHT", study_right)

    def below(self, limit: int) -> int:
        """Return an integer from 0 up to, but without, `limit`."""
        return int(self.random.random() * limit)  # randrange takes four times as long

    def one_of(self, choices: Any) -> Any:
        """Return one element of a sequence."""
        return choices[int(self.random.random() * len(choices))]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.random.random() < probability

    def date(self) -> str:
        """Return a day, like 2019-08-01."""
        return (_EPOCH + dt.timedelta(days=self.below(_DAYS))).date().isoformat()

    def instant(self) -> str:
        """Return a point in time as SISU writes it: local, with milliseconds."""
        moment = _EPOCH + dt.timedelta(seconds=self.below(_DAYS * 86_400), milliseconds=self.below(1000))
        return moment.isoformat()[:23]

    def period(self, key: str = "startDate", end_key: str = "endDate") -> Content:
        """Return a period, open-ended now and then."""
        year = 2012 + self.below(12)
        period = {key: f"{year}-08-01"}
        if not self.chance(0.2):
            period[end_key] = f"{year + 1 + self.below(6)}-07-31"
        return period

    def number(self, ordinary: float) -> Any:
        """Return this number or, now and then, one that a float round trip would change."""
        return self.one_of(_ODD_NUMBERS) if self.chance(0.06) else ordinary

    def text(self, text: str) -> Any:
        """Return this text: as it is or, now and then, with all possible escapes or with something unusual in it."""
        roll = self.random.random()
        if roll < 0.04:  # noqa: PLR2004 - a share
            return orjson.Fragment(json.dumps(text).replace("/", "\\/").encode())
        return f"{text} {self.one_of(_ODD_TEXTS)}" if roll < 0.06 else text  # noqa: PLR2004 - a share

    def prose(self, max_sentences: int) -> Content:
        """Return some sentences in the three languages, up to `max_sentences` of them."""
        sentences = 1 + self.below(max_sentences)
        return {
            language: self.text(" ".join(self.random.choices(choices, k=sentences)))
            for language, choices in _SENTENCES.items()
        }


def localized(finnish: str, swedish: str, english: str) -> Content:
    """Return a name in the three languages."""
    return {"fi": finnish, "sv": swedish, "en": english}
