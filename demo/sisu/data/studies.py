"""Made-up study offerings: organisations, educations, modules, course units, and their teaching."""

from demo.sisu.data.codebooks import urn
from demo.sisu.data.random_entity import ROOT_ORG_ID, Content, EntityRandom, localized

_FIELDS = (
    ("MAT", "Matematiikka", "Matematik", "Mathematics"),
    ("TKT", "Tietojenkäsittelytiede", "Datavetenskap", "Computer Science"),
    ("FYS", "Fysiikka", "Fysik", "Physics"),
    ("KEK", "Kemia", "Kemi", "Chemistry"),
    ("HIS", "Historia", "Historia", "History"),
    ("OIK", "Oikeustiede", "Rättsvetenskap", "Law"),
    ("LÄÄ", "Lääketiede", "Medicin", "Medicine"),
    ("PSY", "Psykologia", "Psykologi", "Psychology"),
    ("MAA", "Maantiede", "Geografi", "Geography"),
    ("KIE", "Kielitiede", "Språkvetenskap", "Linguistics"),
)
_KINDS = (
    ("Johdatus alaan", "Introduktion till ämnet", "Introduction to the field"),
    ("Perusteet", "Grunder", "Foundations"),
    ("Menetelmät", "Metoder", "Methods"),
    ("Seminaari", "Seminarium", "Seminar"),
    ("Harjoitustyö", "Övningsarbete", "Project work"),
    ("Historia ja nykyaika", "Historia och nutid", "Past and present"),
    ("Kandidaatintutkielma", "Kandidatavhandling", "Bachelor's thesis"),
)
_STREETS = ("Fabianinkatu", "Yliopistonkatu", "Väinö Auerin katu", "Viikinkaari", "Haartmaninkatu")


def _title(rng: EntityRandom) -> tuple[str, Content]:
    """Return a code and a name."""
    code, *field = rng.one_of(_FIELDS)
    names = [f"{subject}: {kind}" for subject, kind in zip(field, rng.one_of(_KINDS), strict=True)]
    return f"{code}{10_000 + rng.index}", localized(*names)


def _responsibilities(rng: EntityRandom) -> list[Content]:
    return [
        {
            "roleUrn": "urn:code:module-responsibility-info-type:responsible-teacher",
            "personId": rng.ref("PERSON"),
            "text": None,
            "validityPeriod": rng.period(),
        }
        for _ in range(1 + rng.below(3))
    ]


def _organisations(rng: EntityRandom) -> list[Content]:
    return [
        {
            "organisationId": rng.ref("ORGANISATION"),
            "roleUrn": "urn:code:organisation-role:responsible-organisation",
            "share": rng.number(1.0),
            "validityPeriod": {},
        }
    ]


def organisation(rng: EntityRandom) -> Content:
    """Return a unit of the university. The first one is the root."""
    code, name = _title(rng)
    return {
        "universityOrgId": ROOT_ORG_ID,
        "parentId": rng.ref("ORGANISATION", rng.index // 5) if rng.index else None,
        "code": f"H{code[3:]}",
        "name": name,
        "abbreviation": localized(code, code, code),
        "status": "ACTIVE",
        "snapshotDateTime": rng.instant(),
        "educationalInstitutionUrn": "urn:code:educational-institution:99999",
    }


def course_unit(rng: EntityRandom) -> Content:
    """Return a course as the curriculum describes it; some are long."""
    code, name = _title(rng)
    credit = rng.one_of((2, 5, 5, 5, 10))
    return {
        "groupId": rng.ref("COURSE_UNIT", rng.index),
        "universityOrgIds": [ROOT_ORG_ID],
        "code": code,
        "name": {language: rng.text(text) for language, text in name.items()},
        "abbreviation": code,
        "credits": {"min": rng.number(credit), "max": rng.number(credit)},
        "validityPeriod": rng.period(),
        "studyLevel": urn("STUDY_LEVEL", rng.below(5)),
        "courseUnitType": "urn:code:course-unit-type:regular",
        "gradeScaleId": rng.one_of(("sis-0-5", "sis-0-5", "sis-hyl-hyv")),
        "curriculumPeriodIds": [rng.ref("CURRICULUM_PERIOD") for _ in range(1 + rng.below(4))],
        "possibleAttainmentLanguages": ["urn:code:language:fi", "urn:code:language:sv"],
        "completionMethods": [
            {
                "localId": f"{rng.index}-{number}",
                "typeOfRequire": "ALL_SELECTED_REQUIRED",
                "assessmentItemIds": [rng.ref("ASSESMENT_ITEM")],
                "description": rng.prose(3),
            }
            for number in range(1 + rng.below(3))
        ],
        "responsibilityInfos": _responsibilities(rng),
        "organisations": _organisations(rng),
        "outcomes": rng.prose(40 if rng.chance(0.2) else 6),
        "content": rng.prose(40 if rng.chance(0.2) else 6),
        "prerequisites": rng.prose(3),
        "literature": [{"name": rng.text("Oppikirja, 3. painos"), "url": "https://example.fi/kirjat"}],
        "substitutions": [],
        "searchTags": [],
    }


def education(rng: EntityRandom) -> Content:
    """Return an education, which a study right refers to."""
    code, name = _title(rng)
    return {
        "groupId": rng.ref("EDUCATION", rng.index),
        "universityOrgIds": [ROOT_ORG_ID],
        "code": f"{code}-KOULUTUS",
        "name": name,
        "educationType": urn("EDUCATION_TYPE", rng.below(7)),
        "degreeTitleUrns": [urn("DEGREE_TITLE", rng.below(7))],
        "educationClassificationUrn": urn("EDUCATION_CLASSIFICATION", rng.below(6)),
        "validityPeriod": rng.period(),
        "structure": {
            "phase1": {"options": [{"moduleGroupId": rng.ref("MODULE")} for _ in range(1 + rng.below(5))]},
            "phase2": None,
        },
        "responsibilityInfos": _responsibilities(rng),
        "organisations": _organisations(rng),
        "learningOutcomes": rng.prose(10),
    }


def module(rng: EntityRandom) -> Content:
    """Return a part of a degree: a tree of rules, many kilobytes large."""
    code, name = _title(rng)
    return {
        "type": rng.one_of(("StudyModule", "StudyModule", "DegreeProgramme", "GroupingModule")),
        "groupId": rng.ref("MODULE", rng.index),
        "universityOrgIds": [ROOT_ORG_ID],
        "code": code,
        "name": name,
        "targetCredits": {"min": rng.number(25), "max": None},
        "curriculumPeriodIds": [rng.ref("CURRICULUM_PERIOD")],
        "validityPeriod": rng.period(),
        "studyLevel": urn("STUDY_LEVEL", rng.below(5)),
        "rule": _rule(rng, depth=3),
        "responsibilityInfos": _responsibilities(rng),
        "organisations": _organisations(rng),
        "outcomes": rng.prose(20),
    }


def _rule(rng: EntityRandom, depth: int) -> Content:
    local_id = f"otm-{rng.below(10**9):09d}"
    if depth == 0:
        return {"type": "CourseUnitRule", "localId": local_id, "courseUnitGroupId": rng.ref("COURSE_UNIT")}
    rules = [_rule(rng, rng.below(depth)) for _ in range(3 + rng.below(6))]
    return {
        "type": "CompositeRule",
        "localId": local_id,
        "description": rng.prose(2),
        "require": {"min": 1, "max": None},
        "allMandatory": rng.chance(0.5),
        "rules": rules,
    }


def assessment_item(rng: EntityRandom) -> Content:
    """Return one way, or part of one, to complete a course unit."""
    _, name = _title(rng)
    return {
        "universityOrgIds": [ROOT_ORG_ID],
        "name": name,
        "nameSpecifier": rng.prose(1),
        "credits": {"min": rng.number(5.0), "max": rng.number(5.0)},
        "assessmentItemType": rng.one_of(
            ("urn:code:assessment-item-type:exam", "urn:code:assessment-item-type:teaching")
        ),
        "gradeScaleId": "sis-0-5",
        "primaryCourseUnitGroupId": rng.ref("COURSE_UNIT", rng.index),
        "grading": rng.prose(4),
        "studyFormat": rng.prose(3),
        "learningMaterial": rng.prose(3),
        "responsibilityInfos": _responsibilities(rng),
        "organisations": _organisations(rng),
        "possibleAttainmentLanguages": ["urn:code:language:fi"],
    }


def course_unit_realisation(rng: EntityRandom) -> Content:
    """Return one teaching of a course unit."""
    _, name = _title(rng)
    return {
        "universityOrgIds": [ROOT_ORG_ID],
        "name": name,
        "nameSpecifier": rng.prose(1),
        "assessmentItemIds": [rng.ref("ASSESMENT_ITEM", rng.index)],
        "activityPeriod": rng.period(),
        "publishDate": rng.date(),
        "flowState": rng.one_of(("PUBLISHED", "PUBLISHED", "NOT_READY", "ARCHIVED", "CANCELLED")),
        "teachingLanguageUrn": "urn:code:language:fi",
        "courseUnitRealisationTypeUrn": "urn:code:course-unit-realisation-type:teaching-participation-small-group",
        "enrolmentPeriod": {"startDateTime": rng.instant(), "endDateTime": rng.instant()},
        "studyGroupSets": [
            {
                "localId": f"{rng.index}-{number}",
                "name": localized("Luennot", "Föreläsningar", "Lectures"),
                "studySubGroupAmount": {"min": 1, "max": 1},
                "studySubGroups": [{"id": rng.ref("STUDY_EVENT"), "size": rng.number(30), "cancelled": False}],
                "studyEventIds": [rng.ref("STUDY_EVENT")],
            }
            for number in range(1 + rng.below(3))
        ],
        "responsibilityInfos": _responsibilities(rng),
        "organisations": _organisations(rng),
        "learningEnvironments": [{"name": "Moodle", "url": "https://example.fi/moodle", "primary": True}],
    }


def location(rng: EntityRandom) -> Content:
    """Return a room."""
    room = f"{rng.one_of('ABCD')}{rng.below(500):03d}"
    return {
        "name": localized(f"Sali {room}", f"Sal {room}", f"Room {room}"),
        "buildingId": f"hy-rak-{rng.below(40)}",
        "streetAddress": rng.text(f"{rng.one_of(_STREETS)} {1 + rng.below(60)}"),
        "seats": rng.number(10 + rng.below(300)),
        "latitude": rng.number(60.17),
        "bookable": rng.chance(0.8),
    }


def study_event(rng: EntityRandom) -> Content:
    """Return when and where something is taught."""
    _, name = _title(rng)
    events = [{"start": rng.instant(), "end": rng.instant(), "cancelled": False} for _ in range(1 + rng.below(14))]
    return {
        "name": name,
        "locationIds": [rng.ref("LOCATION")],
        "startTime": rng.instant(),
        "duration": f"PT{1 + rng.below(4)}H{rng.one_of((0, 15, 45))}M",
        "recursEvery": rng.one_of(("WEEKLY", "NEVER", "DAILY")),
        "events": events,
        "exceptions": [],
    }
