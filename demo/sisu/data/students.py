"""Made-up students' data: study rights, registrations, attainments, enrolments, plans, groups, disclosures."""

from demo.sisu.data.codebooks import grade, urn
from demo.sisu.data.people import GIVEN_NAMES
from demo.sisu.data.random_entity import Content, EntityRandom


def study_right(rng: EntityRandom) -> Content:
    """Return the right of a person to study for a degree."""
    education = rng.ref("EDUCATION")
    return {
        "personId": rng.ref("PERSON", rng.index),
        "educationId": education,
        "organisationId": rng.ref("ORGANISATION"),
        # A nested older state of the same entity: a reader of `id` and `documentState` must read the outer ones.
        "snapshot": {"id": rng.ref("STUDY_RIGHT"), "documentState": "DRAFT", "takenOn": rng.instant()},
        "state": rng.one_of(("ACTIVE", "ACTIVE", "ACTIVE", "PASSIVE", "GRADUATED", "RESCINDED")),
        "valid": rng.period(),
        "grantDate": rng.date(),
        "studyStartDate": rng.date(),
        "transferOutDate": None,
        "admissionTypeUrn": urn("ADMISSION_TYPE", rng.below(4)),
        "studyRightExpirationRules": [urn("STUDY_RIGHT_EXPIRATION_RULE", rng.below(4))],
        "degreeRegulations": rng.prose(2),
        "acceptedSelectionPath": {
            "educationId": education,
            "educationPhase1GroupId": rng.ref("MODULE"),
            "educationPhase1ChildGroupId": rng.ref("MODULE") if rng.chance(0.5) else None,
        },
        "studyRightGraduation": {"phase1GraduationDate": rng.date()} if rng.chance(0.3) else None,
        "studyFeeCoefficient": rng.number(0.5),
    }


def term_registration(rng: EntityRandom) -> Content:
    """Return the terms for which a person has registered."""
    person_id, study_right_id = rng.student()
    return {
        "studentId": person_id,
        "studyRightId": study_right_id,
        "termRegistrations": [
            {
                "studyTerm": {"termIndex": term, "studyYearStartYear": 2016 + year},
                "termRegistrationType": rng.one_of(("ATTENDING", "ATTENDING", "NONATTENDING", "NEGLECTED")),
                "registrationDate": rng.instant(),
                "statutoryAbsence": False,
                "tuitionFeePaymentState": rng.one_of(("PAID", "NOT_APPLICABLE")),
            }
            for year in range(1 + rng.below(6))
            for term in (0, 1)
        ],
    }


def attainment(rng: EntityRandom) -> Content:
    """Return what a person has completed, with credits and grade."""
    person_id, study_right_id = rng.student()
    scale, grade_id = grade(0 if rng.chance(0.8) else 1, rng.below(6))
    day = rng.date()
    return {
        "type": "CourseUnitAttainment",
        "personId": person_id,
        "personFirstNames": rng.text(rng.one_of(GIVEN_NAMES)),
        "studyRightId": study_right_id,
        "verifierPersonId": rng.ref("PERSON"),
        "courseUnitId": rng.ref("COURSE_UNIT"),
        "courseUnitGroupId": rng.ref("COURSE_UNIT"),
        "assessmentItemId": rng.ref("ASSESMENT_ITEM"),
        "courseUnitRealisationId": rng.ref("COURSE_UNIT_REALISATION") if rng.chance(0.7) else None,
        "credits": rng.number(float(rng.one_of((2, 5, 5, 5, 10)))),
        "gradeScaleId": scale,
        "gradeId": grade_id,
        "gradeAverage": {"gradeScaleId": scale, "value": rng.number(3.75), "method": "COURSE_UNIT_ARITHMETIC_MEAN"},
        "state": "ATTAINED" if grade_id else "FAILED",
        "attainmentDate": day,
        "registrationDate": day,
        "expiryDate": None,
        "attainmentLanguageUrn": f"urn:code:language:{rng.one_of(('fi', 'sv', 'en'))}",
        "studyFieldUrn": "urn:code:study-field:hy-0",
        "acceptorPersons": [
            {"personId": rng.ref("PERSON"), "roleUrn": "urn:code:attainment-acceptor-type:approved-by", "text": None}
        ],
        "organisations": [
            {
                "organisationId": rng.ref("ORGANISATION"),
                "roleUrn": "urn:code:organisation-role:responsible-organisation",
                "share": rng.number(1.0),
            }
        ],
        "misregistration": rng.chance(0.01),
        "primary": True,
        "moduleContentApplicationId": None,
        "additionalInfo": rng.prose(2) if rng.chance(0.1) else None,
    }


def study_right_primality(rng: EntityRandom) -> Content:
    """Return which of a person's study rights is the primary one, and when."""
    person_id, study_right_id = rng.student()
    return {
        "studentId": person_id,
        "studyRightId": study_right_id,
        "validityPeriod": rng.period("startTerm", "endTerm"),
    }


def enrolment(rng: EntityRandom) -> Content:
    """Return a person's place, or application for one, in the teaching of a course."""
    person_id, study_right_id = rng.student()
    return {
        "personId": person_id,
        "studyRightId": study_right_id,
        "courseUnitId": rng.ref("COURSE_UNIT"),
        "courseUnitRealisationId": rng.ref("COURSE_UNIT_REALISATION"),
        "assessmentItemId": rng.ref("ASSESMENT_ITEM"),
        "enrolmentDateTime": rng.instant(),
        "state": rng.one_of(("ENROLLED", "ENROLLED", "ENROLLED", "REJECTED", "ABORTED_BY_STUDENT", "PROCESSING")),
        "processingState": "PROCESSED",
        "colorIndex": rng.below(20),
        "isInCalendar": rng.chance(0.9),
        "tentativeStudyGroupSets": [],
        "studySubGroups": [
            {
                "studySubGroupId": rng.ref("STUDY_EVENT"),
                "enrolmentStudySubGroupPriority": rng.one_of(("PRIMARY", "SECONDARY")),
                "isInCalendar": True,
            }
            for _ in range(rng.below(4))
        ],
    }


def plan(rng: EntityRandom) -> Content:
    """Return a person's plan of studies: large, since it lists every course."""
    person_id, _ = rng.student()
    root = rng.ref("EDUCATION")
    return {
        "userId": person_id,
        "rootId": root,
        "curriculumPeriodId": rng.ref("CURRICULUM_PERIOD"),
        "name": rng.text("Opintosuunnitelmani"),
        "primary": rng.chance(0.9),
        "assessmentItemSelections": [],
        "courseUnitSelections": [
            {
                "courseUnitId": rng.ref("COURSE_UNIT"),
                "parentModuleId": rng.ref("MODULE"),
                "plannedPeriods": [f"hy-university-root-id/2024/{rng.below(2)}/{rng.below(4)}"],
                "completionMethodId": None,
                "gradeRaiseAttempt": False,
                "credits": rng.number(5.0),
            }
            for _ in range(10 + rng.below(60))
        ],
        "moduleSelections": [{"moduleId": rng.ref("MODULE"), "parentModuleId": root} for _ in range(2 + rng.below(10))],
        "customStudyDrafts": [{"name": rng.text("Vapaa opinto"), "credits": rng.number(2.5)}],
        "timelineNotes": [{"year": 2024, "notes": rng.text("Vaihtoon?")} for _ in range(rng.below(3))],
    }


def person_group(rng: EntityRandom) -> Content:
    """Return a group of persons, such as those who are taught together."""
    return {
        "name": rng.prose(1),
        "type": rng.one_of(("TUTORING", "RESPONSIBLE_PERSONS", "STUDY_GROUP")),
        "responsibilityInfos": [{"personId": rng.ref("PERSON"), "organisationId": rng.ref("ORGANISATION")}],
        "members": [
            {"personId": rng.ref("PERSON"), "memberSince": rng.date(), "role": "MEMBER"} for _ in range(rng.below(60))
        ],
    }


def disclosure(rng: EntityRandom) -> Content:
    """Return a person's consent to the disclosure of their data."""
    return {
        "personId": rng.ref("PERSON", rng.index),
        "purpose": rng.one_of(("PUBLIC_DISPLAY", "MARKETING", "STUDENT_UNION")),
        "disclosureAllowed": rng.chance(0.7),
        "changedOn": rng.instant(),
    }
