"""Made-up things that are studied: organisations, educations, modules, course units, their teaching."""

from demo.codebooks import urn
from demo.draw import ROOT_ORG_ID, Content, Draw, three

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


def _title(draw: Draw) -> tuple[str, Content]:
    """A code and a name."""
    code, *field = draw.one_of(_FIELDS)
    names = [f"{subject}: {kind}" for subject, kind in zip(field, draw.one_of(_KINDS), strict=True)]
    return f"{code}{10_000 + draw.index}", three(*names)


def _responsibilities(draw: Draw) -> list[Content]:
    return [
        {
            "roleUrn": "urn:code:module-responsibility-info-type:responsible-teacher",
            "personId": draw.ref("PERSON"),
            "text": None,
            "validityPeriod": draw.period(),
        }
        for _ in range(1 + draw.below(3))
    ]


def _organisations(draw: Draw) -> list[Content]:
    return [
        {
            "organisationId": draw.ref("ORGANISATION"),
            "roleUrn": "urn:code:organisation-role:responsible-organisation",
            "share": draw.number(1.0),
            "validityPeriod": {},
        }
    ]


def organisation(draw: Draw) -> Content:
    """A unit of the university. The first one is the root of all."""
    code, name = _title(draw)
    return {
        "universityOrgId": ROOT_ORG_ID,
        "parentId": draw.ref("ORGANISATION", draw.index // 5) if draw.index else None,
        "code": f"H{code[3:]}",
        "name": name,
        "abbreviation": three(code, code, code),
        "status": "ACTIVE",
        "snapshotDateTime": draw.instant(),
        "educationalInstitutionUrn": "urn:code:educational-institution:99999",
    }


def course_unit(draw: Draw) -> Content:
    """A course, as the curriculum describes it: some are long."""
    code, name = _title(draw)
    credit = draw.one_of((2, 5, 5, 5, 10))
    return {
        "groupId": draw.ref("COURSE_UNIT", draw.index),
        "universityOrgIds": [ROOT_ORG_ID],
        "code": code,
        "name": {language: draw.text(text) for language, text in name.items()},
        "abbreviation": code,
        "credits": {"min": draw.number(credit), "max": draw.number(credit)},
        "validityPeriod": draw.period(),
        "studyLevel": urn("STUDY_LEVEL", draw.below(5)),
        "courseUnitType": "urn:code:course-unit-type:regular",
        "gradeScaleId": draw.one_of(("sis-0-5", "sis-0-5", "sis-hyl-hyv")),
        "curriculumPeriodIds": [draw.ref("CURRICULUM_PERIOD") for _ in range(1 + draw.below(4))],
        "possibleAttainmentLanguages": ["urn:code:language:fi", "urn:code:language:sv"],
        "completionMethods": [
            {
                "localId": f"{draw.index}-{number}",
                "typeOfRequire": "ALL_SELECTED_REQUIRED",
                "assessmentItemIds": [draw.ref("ASSESMENT_ITEM")],
                "description": draw.prose(3),
            }
            for number in range(1 + draw.below(3))
        ],
        "responsibilityInfos": _responsibilities(draw),
        "organisations": _organisations(draw),
        "outcomes": draw.prose(40 if draw.chance(0.2) else 6),
        "content": draw.prose(40 if draw.chance(0.2) else 6),
        "prerequisites": draw.prose(3),
        "literature": [{"name": draw.text("Oppikirja, 3. painos"), "url": "https://example.fi/kirjat"}],
        "substitutions": [],
        "searchTags": [],
    }


def education(draw: Draw) -> Content:
    """What a study right is for."""
    code, name = _title(draw)
    return {
        "groupId": draw.ref("EDUCATION", draw.index),
        "universityOrgIds": [ROOT_ORG_ID],
        "code": f"{code}-KOULUTUS",
        "name": name,
        "educationType": urn("EDUCATION_TYPE", draw.below(7)),
        "degreeTitleUrns": [urn("DEGREE_TITLE", draw.below(7))],
        "educationClassificationUrn": urn("EDUCATION_CLASSIFICATION", draw.below(6)),
        "validityPeriod": draw.period(),
        "structure": {
            "phase1": {"options": [{"moduleGroupId": draw.ref("MODULE")} for _ in range(1 + draw.below(5))]},
            "phase2": None,
        },
        "responsibilityInfos": _responsibilities(draw),
        "organisations": _organisations(draw),
        "learningOutcomes": draw.prose(10),
    }


def module(draw: Draw) -> Content:
    """A part of a degree: a tree of rules, many kilobytes large."""
    code, name = _title(draw)
    return {
        "type": draw.one_of(("StudyModule", "StudyModule", "DegreeProgramme", "GroupingModule")),
        "groupId": draw.ref("MODULE", draw.index),
        "universityOrgIds": [ROOT_ORG_ID],
        "code": code,
        "name": name,
        "targetCredits": {"min": draw.number(25), "max": None},
        "curriculumPeriodIds": [draw.ref("CURRICULUM_PERIOD")],
        "validityPeriod": draw.period(),
        "studyLevel": urn("STUDY_LEVEL", draw.below(5)),
        "rule": _rule(draw, depth=3),
        "responsibilityInfos": _responsibilities(draw),
        "organisations": _organisations(draw),
        "outcomes": draw.prose(20),
    }


def _rule(draw: Draw, depth: int) -> Content:
    local_id = f"otm-{draw.below(10**9):09d}"
    if depth == 0:
        return {"type": "CourseUnitRule", "localId": local_id, "courseUnitGroupId": draw.ref("COURSE_UNIT")}
    rules = [_rule(draw, draw.below(depth)) for _ in range(3 + draw.below(6))]
    return {
        "type": "CompositeRule",
        "localId": local_id,
        "description": draw.prose(2),
        "require": {"min": 1, "max": None},
        "allMandatory": draw.chance(0.5),
        "rules": rules,
    }


def assessment_item(draw: Draw) -> Content:
    """One way, or part of one, to complete a course unit."""
    _, name = _title(draw)
    return {
        "universityOrgIds": [ROOT_ORG_ID],
        "name": name,
        "nameSpecifier": draw.prose(1),
        "credits": {"min": draw.number(5.0), "max": draw.number(5.0)},
        "assessmentItemType": draw.one_of(
            ("urn:code:assessment-item-type:exam", "urn:code:assessment-item-type:teaching")
        ),
        "gradeScaleId": "sis-0-5",
        "primaryCourseUnitGroupId": draw.ref("COURSE_UNIT", draw.index),
        "grading": draw.prose(4),
        "studyFormat": draw.prose(3),
        "learningMaterial": draw.prose(3),
        "responsibilityInfos": _responsibilities(draw),
        "organisations": _organisations(draw),
        "possibleAttainmentLanguages": ["urn:code:language:fi"],
    }


def course_unit_realisation(draw: Draw) -> Content:
    """A course unit as it is taught once."""
    _, name = _title(draw)
    return {
        "universityOrgIds": [ROOT_ORG_ID],
        "name": name,
        "nameSpecifier": draw.prose(1),
        "assessmentItemIds": [draw.ref("ASSESMENT_ITEM", draw.index)],
        "activityPeriod": draw.period(),
        "publishDate": draw.date(),
        "flowState": draw.one_of(("PUBLISHED", "PUBLISHED", "NOT_READY", "ARCHIVED", "CANCELLED")),
        "teachingLanguageUrn": "urn:code:language:fi",
        "courseUnitRealisationTypeUrn": "urn:code:course-unit-realisation-type:teaching-participation-small-group",
        "enrolmentPeriod": {"startDateTime": draw.instant(), "endDateTime": draw.instant()},
        "studyGroupSets": [
            {
                "localId": f"{draw.index}-{number}",
                "name": three("Luennot", "Föreläsningar", "Lectures"),
                "studySubGroupAmount": {"min": 1, "max": 1},
                "studySubGroups": [{"id": draw.ref("STUDY_EVENT"), "size": draw.number(30), "cancelled": False}],
                "studyEventIds": [draw.ref("STUDY_EVENT")],
            }
            for number in range(1 + draw.below(3))
        ],
        "responsibilityInfos": _responsibilities(draw),
        "organisations": _organisations(draw),
        "learningEnvironments": [{"name": "Moodle", "url": "https://example.fi/moodle", "primary": True}],
    }


def location(draw: Draw) -> Content:
    """A room."""
    room = f"{draw.one_of('ABCD')}{draw.below(500):03d}"
    return {
        "name": three(f"Sali {room}", f"Sal {room}", f"Room {room}"),
        "buildingId": f"hy-rak-{draw.below(40)}",
        "streetAddress": draw.text(f"{draw.one_of(_STREETS)} {1 + draw.below(60)}"),
        "seats": draw.number(10 + draw.below(300)),
        "latitude": draw.number(60.17),
        "bookable": draw.chance(0.8),
    }


def study_event(draw: Draw) -> Content:
    """When and where something is taught."""
    _, name = _title(draw)
    events = [{"start": draw.instant(), "end": draw.instant(), "cancelled": False} for _ in range(1 + draw.below(14))]
    return {
        "name": name,
        "locationIds": [draw.ref("LOCATION")],
        "startTime": draw.instant(),
        "duration": f"PT{1 + draw.below(4)}H{draw.one_of((0, 15, 45))}M",
        "recursEvery": draw.one_of(("WEEKLY", "NEVER", "DAILY")),
        "events": events,
        "exceptions": [],
    }
