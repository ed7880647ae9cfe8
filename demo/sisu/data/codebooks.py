"""Entities that seldom change and are the same for every seed: URN codebooks, grade scales and curriculum periods."""

from collections.abc import Callable, Sequence

from demo.sisu.data.random_entity import ROOT_ORG_ID, Content, localized

_Rows = Sequence[tuple[str, str, str, str]]

# (the end of the urn, Finnish, Swedish, English); the urn of an item names its parent.
STUDY_LEVELS: _Rows = (
    ("basic-studies", "Perusopinnot", "Grundstudier", "Basic studies"),
    ("intermediate-studies", "Aineopinnot", "Ämnesstudier", "Intermediate studies"),
    ("advanced-studies", "Syventävät opinnot", "Fördjupade studier", "Advanced studies"),
    ("postgraduate-studies", "Jatko-opinnot", "Påbyggnadsstudier", "Postgraduate studies"),
    ("other-studies", "Muut opinnot", "Övriga studier", "Other studies"),
)
COUNTRIES: _Rows = (
    ("fi", "Suomi", "Finland", "Finland"),
    ("se", "Ruotsi", "Sverige", "Sweden"),
    ("ee", "Viro", "Estland", "Estonia"),
    ("no", "Norja", "Norge", "Norway"),
    ("dk", "Tanska", "Danmark", "Denmark"),
    ("de", "Saksa", "Tyskland", "Germany"),
    ("fr", "Ranska", "Frankrike", "France"),
    ("it", "Italia", "Italien", "Italy"),
    ("cn", "Kiina", "Kina", "China"),
    ("in", "Intia", "Indien", "India"),
    ("vn", "Vietnam", "Vietnam", "Viet Nam"),
    ("br", "Brasilia", "Brasilien", "Brazil"),
)
EDUCATION_TYPES: _Rows = (
    ("degree-education", "Tutkintokoulutus", "Examensutbildning", "Degree education"),
    ("degree-education:bachelors-degree", "Alempi korkeakoulututkinto", "Lägre högskoleexamen", "Bachelor's degree"),
    ("degree-education:masters-degree", "Ylempi korkeakoulututkinto", "Högre högskoleexamen", "Master's degree"),
    ("degree-education:doctor", "Tohtorin tutkinto", "Doktorsexamen", "Doctoral degree"),
    ("non-degree-education", "Tutkintoon johtamaton koulutus", "Icke-examensutbildning", "Non-degree education"),
    ("non-degree-education:open-university", "Avoin yliopisto", "Öppna universitetet", "Open university"),
    ("non-degree-education:exchange-studies", "Vaihto-opinnot", "Utbytesstudier", "Exchange studies"),
)
DEGREE_TITLES: _Rows = (
    ("luonnontieteiden-kandidaatti", "Luonnontieteiden kandidaatti", "Kandidat i nat.vet.", "Bachelor of Science"),
    ("filosofian-maisteri", "Filosofian maisteri", "Filosofie magister", "Master of Science"),
    ("humanististen-tieteiden-kandidaatti", "Hum. tiet. kandidaatti", "Kandidat i hum.", "Bachelor of Arts"),
    ("valtiotieteiden-maisteri", "Valtiotieteiden maisteri", "Politices magister", "Master of Social Sciences"),
    ("oikeustieteen-maisteri", "Oikeustieteen maisteri", "Juris magister", "Master of Laws"),
    ("laaketieteen-lisensiaatti", "Lääketieteen lisensiaatti", "Medicine licentiat", "Licentiate of Medicine"),
    ("filosofian-tohtori", "Filosofian tohtori", "Filosofie doktor", "Doctor of Philosophy"),
)
CLASSIFICATIONS: _Rows = (
    ("612101", "Filosofian kandidaatti", "Filosofie kandidat", "Bachelor, humanities"),
    ("613201", "Luonnontieteiden kandidaatti", "Kandidat i naturvetenskaper", "Bachelor, natural sciences"),
    ("712108", "Filosofian maisteri, matematiikka", "FM, matematik", "Master, mathematics"),
    ("733201", "Oikeustieteen maisteri", "Juris magister", "Master of laws"),
    ("772101", "Lääketieteen lisensiaatti", "Medicine licentiat", "Licentiate of medicine"),
    ("811111", "Filosofian tohtori", "Filosofie doktor", "Doctor of philosophy"),
)
EXPIRATION_RULES: _Rows = (
    ("fixed-end-date", "Määräaikainen", "Tidsbegränsad", "Fixed end date"),
    ("seven-years", "Seitsemän vuotta", "Sju år", "Seven years"),
    ("statutory-study-period", "Laissa säädetty opiskeluaika", "Lagstadgad studietid", "Statutory period"),
    ("indefinite", "Toistaiseksi", "Tills vidare", "Indefinite"),
)
ADMISSION_TYPES: _Rows = (
    ("joint-application", "Yhteishaku", "Gemensam ansökan", "Joint application"),
    ("separate-application", "Erillishaku", "Separat antagning", "Separate application"),
    ("open-university-route", "Avoimen väylä", "Öppna leden", "Open university route"),
    ("transfer", "Siirto-opiskelija", "Överflyttning", "Transfer"),
)

# The prefix of each codebook's urns, and its items.
_CODEBOOKS: dict[str, tuple[str, _Rows]] = {
    "STUDY_LEVEL": ("urn:code:study-level", STUDY_LEVELS),
    "COUNTRY": ("urn:code:country", COUNTRIES),
    "EDUCATION_TYPE": ("urn:code:education-type", EDUCATION_TYPES),
    "DEGREE_TITLE": ("urn:code:degree-title", DEGREE_TITLES),
    "EDUCATION_CLASSIFICATION": ("urn:code:education-classification", CLASSIFICATIONS),
    "STUDY_RIGHT_EXPIRATION_RULE": ("urn:code:study-right-expiration-rules", EXPIRATION_RULES),
    "ADMISSION_TYPE": ("urn:code:admission-type", ADMISSION_TYPES),
}
_GRADE_SCALES = (
    ("sis-0-5", "0\u20135", ["Hylätty", "Välttävä", "Tyydyttävä", "Hyvä", "Kiitettävä", "Erinomainen"]),
    ("sis-hyl-hyv", "Hyl.\u2013Hyv.", ["Hylätty", "Hyväksytty"]),
    ("sis-kirjall", "Kirjallinen", ["Improbatur", "Approbatur", "Lubenter", "Non sine laude", "Cum laude", "Laudatur"]),
)
_FIRST_CURRICULUM_YEAR = 2015
_CURRICULUM_PERIODS = 12


def urn(codebook: str, index: int) -> str:
    """Return the urn of one of a codebook's items."""
    prefix, rows = _CODEBOOKS[codebook]
    return f"{prefix}:{rows[index % len(rows)][0]}"


def _item(codebook: str, index: int) -> Content:
    """Return an item of a codebook."""
    prefix, rows = _CODEBOOKS[codebook]
    suffix, *names = rows[index]
    parent = f"{prefix}:{suffix.rsplit(':', 1)[0]}" if ":" in suffix else prefix
    return {"urn": f"{prefix}:{suffix}", "name": localized(*names), "parentUrn": parent, "deprecated": False}


def _grade_scale(index: int) -> Content:
    scale, name, grades = _GRADE_SCALES[index]
    return {
        "id": scale,
        "name": localized(name, name, name),
        "abbreviation": localized(name, name, name),
        "grades": [
            {
                "localId": str(number),
                "name": localized(grade, grade, grade),
                "abbreviation": localized(str(number), str(number), str(number)),
                "passed": number > 0,
                "numericCorrespondence": float(number),
            }
            for number, grade in enumerate(grades)
        ],
    }


def _curriculum_period(index: int) -> Content:
    year = _FIRST_CURRICULUM_YEAR + index
    name = f"{year}\u2013{year + 1}"
    return {
        "id": f"hy-lv-{60 + index}",
        "documentState": "ACTIVE",
        "name": localized(f"Lukuvuosi {name}", f"Läsåret {name}", f"Academic year {name}"),
        "abbreviation": localized(name, name, name),
        "activePeriod": {"startDate": f"{year}-08-01", "endDate": f"{year + 1}-08-01"},
        "universityOrgIds": [ROOT_ORG_ID],
    }


def grade(scale_index: int, roll: int) -> tuple[str, int]:
    """Return the id of a grade scale and one of its grades."""
    scale, _, grades = _GRADE_SCALES[scale_index % len(_GRADE_SCALES)]
    return scale, roll % len(grades)


FIXED: dict[str, tuple[int, Callable[[int], Content]]] = {
    "GRAPHQL_GRADE_SCALES": (len(_GRADE_SCALES), _grade_scale),
    "CURRICULUM_PERIOD": (_CURRICULUM_PERIODS, _curriculum_period),
    **{
        codebook: (len(rows), lambda index, codebook=codebook: _item(codebook, index))  # type: ignore[misc]
        for codebook, (_, rows) in _CODEBOOKS.items()
    },
}
"""The number of entities of each of these services, and the function that makes one."""
