"""What made-up persons study: study rights, registrations, attainments, enrolments, plans, groups, disclosures."""

from demo.codebooks import grade, urn
from demo.draw import Content, Draw
from demo.people import GIVEN_NAMES


def study_right(draw: Draw) -> Content:
    """The right of a person to study for a degree."""
    education = draw.ref("EDUCATION")
    return {
        "personId": draw.ref("PERSON", draw.index),
        "educationId": education,
        "organisationId": draw.ref("ORGANISATION"),
        # An older state of the same thing, inside: what reads `id` and `documentState` must read the outer ones.
        "snapshot": {"id": draw.ref("STUDY_RIGHT"), "documentState": "DRAFT", "takenOn": draw.instant()},
        "state": draw.one_of(("ACTIVE", "ACTIVE", "ACTIVE", "PASSIVE", "GRADUATED", "RESCINDED")),
        "valid": draw.period(),
        "grantDate": draw.date(),
        "studyStartDate": draw.date(),
        "transferOutDate": None,
        "admissionTypeUrn": urn("ADMISSION_TYPE", draw.below(4)),
        "studyRightExpirationRules": [urn("STUDY_RIGHT_EXPIRATION_RULE", draw.below(4))],
        "degreeRegulations": draw.prose(2),
        "acceptedSelectionPath": {
            "educationId": education,
            "educationPhase1GroupId": draw.ref("MODULE"),
            "educationPhase1ChildGroupId": draw.ref("MODULE") if draw.chance(0.5) else None,
        },
        "studyRightGraduation": {"phase1GraduationDate": draw.date()} if draw.chance(0.3) else None,
        "studyFeeCoefficient": draw.number(0.5),
    }


def term_registration(draw: Draw) -> Content:
    """For which terms a person has registered."""
    person_id, study_right_id = draw.student()
    return {
        "studentId": person_id,
        "studyRightId": study_right_id,
        "termRegistrations": [
            {
                "studyTerm": {"termIndex": term, "studyYearStartYear": 2016 + year},
                "termRegistrationType": draw.one_of(("ATTENDING", "ATTENDING", "NONATTENDING", "NEGLECTED")),
                "registrationDate": draw.instant(),
                "statutoryAbsence": False,
                "tuitionFeePaymentState": draw.one_of(("PAID", "NOT_APPLICABLE")),
            }
            for year in range(1 + draw.below(6))
            for term in (0, 1)
        ],
    }


def attainment(draw: Draw) -> Content:
    """What a person has completed, with how many credits and which grade."""
    person_id, study_right_id = draw.student()
    scale, grade_id = grade(0 if draw.chance(0.8) else 1, draw.below(6))
    day = draw.date()
    return {
        "type": "CourseUnitAttainment",
        "personId": person_id,
        "personFirstNames": draw.text(draw.one_of(GIVEN_NAMES)),
        "studyRightId": study_right_id,
        "verifierPersonId": draw.ref("PERSON"),
        "courseUnitId": draw.ref("COURSE_UNIT"),
        "courseUnitGroupId": draw.ref("COURSE_UNIT"),
        "assessmentItemId": draw.ref("ASSESMENT_ITEM"),
        "courseUnitRealisationId": draw.ref("COURSE_UNIT_REALISATION") if draw.chance(0.7) else None,
        "credits": draw.number(float(draw.one_of((2, 5, 5, 5, 10)))),
        "gradeScaleId": scale,
        "gradeId": grade_id,
        "gradeAverage": {"gradeScaleId": scale, "value": draw.number(3.75), "method": "COURSE_UNIT_ARITHMETIC_MEAN"},
        "state": "ATTAINED" if grade_id else "FAILED",
        "attainmentDate": day,
        "registrationDate": day,
        "expiryDate": None,
        "attainmentLanguageUrn": f"urn:code:language:{draw.one_of(('fi', 'sv', 'en'))}",
        "studyFieldUrn": "urn:code:study-field:hy-0",
        "acceptorPersons": [
            {"personId": draw.ref("PERSON"), "roleUrn": "urn:code:attainment-acceptor-type:approved-by", "text": None}
        ],
        "organisations": [
            {
                "organisationId": draw.ref("ORGANISATION"),
                "roleUrn": "urn:code:organisation-role:responsible-organisation",
                "share": draw.number(1.0),
            }
        ],
        "misregistration": draw.chance(0.01),
        "primary": True,
        "moduleContentApplicationId": None,
        "additionalInfo": draw.prose(2) if draw.chance(0.1) else None,
    }


def study_right_primality(draw: Draw) -> Content:
    """Which of a person's study rights is the primary one, and when."""
    person_id, study_right_id = draw.student()
    return {
        "studentId": person_id,
        "studyRightId": study_right_id,
        "validityPeriod": draw.period("startTerm", "endTerm"),
    }


def enrolment(draw: Draw) -> Content:
    """A person's place, or wish for one, in the teaching of a course."""
    person_id, study_right_id = draw.student()
    return {
        "personId": person_id,
        "studyRightId": study_right_id,
        "courseUnitId": draw.ref("COURSE_UNIT"),
        "courseUnitRealisationId": draw.ref("COURSE_UNIT_REALISATION"),
        "assessmentItemId": draw.ref("ASSESMENT_ITEM"),
        "enrolmentDateTime": draw.instant(),
        "state": draw.one_of(("ENROLLED", "ENROLLED", "ENROLLED", "REJECTED", "ABORTED_BY_STUDENT", "PROCESSING")),
        "processingState": "PROCESSED",
        "colorIndex": draw.below(20),
        "isInCalendar": draw.chance(0.9),
        "tentativeStudyGroupSets": [],
        "studySubGroups": [
            {
                "studySubGroupId": draw.ref("STUDY_EVENT"),
                "enrolmentStudySubGroupPriority": draw.one_of(("PRIMARY", "SECONDARY")),
                "isInCalendar": True,
            }
            for _ in range(draw.below(4))
        ],
    }


def plan(draw: Draw) -> Content:
    """A person's plan of studies: large, for it names every course in it."""
    person_id, _ = draw.student()
    root = draw.ref("EDUCATION")
    return {
        "userId": person_id,
        "rootId": root,
        "curriculumPeriodId": draw.ref("CURRICULUM_PERIOD"),
        "name": draw.text("Opintosuunnitelmani"),
        "primary": draw.chance(0.9),
        "assessmentItemSelections": [],
        "courseUnitSelections": [
            {
                "courseUnitId": draw.ref("COURSE_UNIT"),
                "parentModuleId": draw.ref("MODULE"),
                "plannedPeriods": [f"hy-university-root-id/2024/{draw.below(2)}/{draw.below(4)}"],
                "completionMethodId": None,
                "gradeRaiseAttempt": False,
                "credits": draw.number(5.0),
            }
            for _ in range(10 + draw.below(60))
        ],
        "moduleSelections": [
            {"moduleId": draw.ref("MODULE"), "parentModuleId": root} for _ in range(2 + draw.below(10))
        ],
        "customStudyDrafts": [{"name": draw.text("Vapaa opinto"), "credits": draw.number(2.5)}],
        "timelineNotes": [{"year": 2024, "notes": draw.text("Vaihtoon?")} for _ in range(draw.below(3))],
    }


def person_group(draw: Draw) -> Content:
    """A group of persons, such as those who are taught together."""
    return {
        "name": draw.prose(1),
        "type": draw.one_of(("TUTORING", "RESPONSIBLE_PERSONS", "STUDY_GROUP")),
        "responsibilityInfos": [{"personId": draw.ref("PERSON"), "organisationId": draw.ref("ORGANISATION")}],
        "members": [
            {"personId": draw.ref("PERSON"), "memberSince": draw.date(), "role": "MEMBER"}
            for _ in range(draw.below(60))
        ],
    }


def disclosure(draw: Draw) -> Content:
    """What a person allows to be told of them."""
    return {
        "personId": draw.ref("PERSON", draw.index),
        "purpose": draw.one_of(("PUBLIC_DISPLAY", "MARKETING", "STUDENT_UNION")),
        "disclosureAllowed": draw.chance(0.7),
        "changedOn": draw.instant(),
    }
