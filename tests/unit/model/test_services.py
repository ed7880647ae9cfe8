"""The services table: the built-in one is as agreed, and a process does not start with an invalid one."""

from pathlib import Path

import pytest

from shared.model.errors import ConfigurationError
from shared.model.services import Api, Service, choose_services, load_services

CODEBOOKS = "/cached/codebooks/urn:code:"

# name, api, channel, key, path, one_time: the contract with SISU, with mankelis and with scripts that read Redis.
BUILT_IN = [
    ("PERSON", "ORI", "ORI_PERSON_CHANNEL", "LATEST_PERSON_ORDINAL", "/persons/v1/export", False),
    (
        "ORGANISATION",
        "KORI",
        "KORI_ORGANISATION_CHANNEL",
        "LATEST_ORGANISATION_ORDINAL",
        "/organisations/v2/export",
        False,
    ),
    ("COURSE_UNIT", "KORI", "KORI_COURSE_UNIT_CHANNEL", "LATEST_COURSE_UNIT_ORDINAL", "/course-units/v1/export", False),
    ("EDUCATION", "KORI", "KORI_EDUCATION_CHANNEL", "LATEST_EDUCATION_ORDINAL", "/educations/v1/export", False),
    ("STUDY_RIGHT", "ORI", "ORI_STUDY_RIGHT_CHANNEL", "LATEST_STUDY_RIGHT_ORDINAL", "/study-rights/v1/export", False),
    (
        "TERM_REGISTRATION",
        "ORI",
        "ORI_TERM_REGISTRATION",
        "LATEST_TERM_REGISTRATION_ORDINAL",
        "/term-registrations/v1/export",
        False,
    ),
    (
        "ASSESMENT_ITEM",
        "KORI",
        "KORI_ASSESSMENT_ITEM_CHANNEL",
        "LATEST_ASSESSMENT_ORDINAL",
        "/assessment-items/v1/export",
        False,
    ),
    (
        "COURSE_UNIT_REALISATION",
        "KORI",
        "KORI_COURSE_UNIT_REALISATION_CHANNEL",
        "LATEST_COURSE_UNIT_REALISATION_ORDINAL",
        "/course-unit-realisations/v1/export",
        False,
    ),
    ("LOCATION", "KORI", "KORI_LOCATION_CHANNEL", "LATEST_LOCATION_ORDINAL", "/locations/v1/export", False),
    ("STUDY_EVENT", "KORI", "KORI_STUDY_EVENT_CHANNEL", "LATEST_STUDY_EVENT_ORDINAL", "/study-events/v1/export", False),
    ("ATTAINMENT", "ORI", "ORI_ATTAINMENT_CHANNEL", "LATEST_ATTAINMENT_ORDINAL", "/attainments/v1/export", False),
    ("MODULE", "KORI", "KORI_MODULE_CHANNEL", "LATEST_MODULE_ORDINAL", "/modules/v1/export", False),
    (
        "STUDY_RIGHT_PRIMALITY",
        "ORI",
        "ORI_STUDY_RIGHT_PRIMALITY_CHANNEL",
        "LATEST_STUDY_RIGHT_PRIMALITY_ORDINAL",
        "/study-right-primalities/v1/export",
        False,
    ),
    ("STUDY_LEVEL", "URN", "URN_STUDY_LEVEL_CHANNEL", "STUDY_LEVEL", f"{CODEBOOKS}study-level", True),
    ("COUNTRY", "URN", "URN_COUNTRY_CHANNEL", "COUNTRY", f"{CODEBOOKS}country", True),
    ("EDUCATION_TYPE", "URN", "URN_EDUCATION_TYPE_CHANNEL", "EDUCATION_TYPE", f"{CODEBOOKS}education-type", True),
    ("ENROLMENT", "ILMO", "ILMO_ENROLMENT_CHANNEL", "LATEST_ENROLMENT_ORDINAL", "/enrolments/v1/export", False),
    (
        "GRAPHQL_GRADE_SCALES",
        "GRAPHQL",
        "GRAPHQL_GRADE_SCALES_CHANNEL",
        "GRAPHQL_GRADE_SCALES",
        "grade_scales",
        True,
    ),
    ("DEGREE_TITLE", "URN", "URN_DEGREE_TITLE_CHANNEL", "DEGREE_TITLE", f"{CODEBOOKS}degree-title", True),
    (
        "EDUCATION_CLASSIFICATION",
        "URN",
        "URN_EDUCATION_CLASSIFICATION_CHANNEL",
        "EDUCATION_CLASSIFICATION",
        f"{CODEBOOKS}education-classification",
        True,
    ),
    (
        "STUDY_RIGHT_EXPIRATION_RULE",
        "URN",
        "URN_STUDY_RIGHT_EXPIRATION_RULE_CHANNEL",
        "STUDY_RIGHT_EXPIRATION_RULE",
        f"{CODEBOOKS}study-right-expiration-rules",
        True,
    ),
    ("ADMISSION_TYPE", "URN", "URN_ADMISSION_TYPE_CHANNEL", "ADMISSION_TYPE", f"{CODEBOOKS}admission-type", True),
    ("PLAN", "OSUVA", "OSUVA_PLAN_CHANNEL", "LATEST_PLAN_ORDINAL", "/plans/v1/export", False),
    (
        "PERSON_GROUP",
        "ORI",
        "ORI_PERSON_GROUP_CHANNEL",
        "LATEST_PERSON_GROUP_ORDINAL",
        "/person-groups/v1/export",
        False,
    ),
    ("DISCLOSURE", "ORI", "ORI_DISCLOSURE_CHANNEL", "LATEST_DISCLOSURE_ORDINAL", "/disclosures/v1/export", False),
    (
        "CURRICULUM_PERIOD",
        "KORI_PUBLIC",
        "KORI_PUBLIC_CURRICULUM_PERIOD_CHANNEL",
        "CURRICULUM_PERIOD",
        "/curriculum-periods?universityOrgId={ROOT_ORG_ID}",
        True,
    ),
]

PERSON = """
[[service]]
name = "PERSON"
api = "ORI"
channel = "PERSON_CHANNEL"
key = "PERSON_ORDINAL"
path = "/persons"
"""
COUNTRY = """
[[service]]
name = "COUNTRY"
api = "URN"
channel = "COUNTRY_CHANNEL"
key = "COUNTRY"
path = "/country"
one_time = true
"""
SCALES = """
[[service]]
name = "SCALES"
api = "GRAPHQL"
channel = "SCALES_CHANNEL"
key = "SCALES"
path = "scales"
one_time = true
query = "query { scales { id } }"
"""


def write_table(folder: Path, content: str | bytes) -> Path:
    """Write a services table with this content, and return its path."""
    path = folder / "services.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_the_built_in_table_is_as_agreed() -> None:
    """The table has all 26 services in run order, under the names that other programs rely on."""
    rows = [
        (service.name, service.api.value, service.channel, service.key, service.path, service.one_time)
        for service in load_services()
    ]
    assert rows == BUILT_IN
    assert len(rows) == 26


def test_only_grade_scales_have_a_graphql_query() -> None:
    """The one GraphQL service queries the field that its response is read from; no other service has a query."""
    queries = {service.name: service.path in service.query for service in load_services() if service.query}
    assert queries == {"GRAPHQL_GRADE_SCALES": True}


def test_another_table_is_read_in_its_own_order(tmp_path: Path) -> None:
    """An operator's own table replaces the built-in one, and keeps its own order."""
    assert load_services(write_table(tmp_path, COUNTRY + PERSON + SCALES)) == (
        Service("COUNTRY", Api.URN, "COUNTRY_CHANNEL", "COUNTRY", "/country", one_time=True),
        Service("PERSON", Api.ORI, "PERSON_CHANNEL", "PERSON_ORDINAL", "/persons"),
        Service(
            "SCALES",
            Api.GRAPHQL,
            "SCALES_CHANNEL",
            "SCALES",
            "scales",
            one_time=True,
            query="query { scales { id } }",
        ),
    )


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param("", "service", id="empty file"),
        pytest.param("service = []", "it lists no service", id="no service"),
        pytest.param("[[service", "Expected", id="not TOML"),
        pytest.param(b"\xff\xfe", "utf-8", id="not UTF-8"),
        pytest.param("service = 'PERSON'", "$.service", id="not a list"),
        pytest.param("version = 2\n" + PERSON, "version", id="unknown table"),
        pytest.param(PERSON + 'chanel = "X"', "chanel", id="unknown column"),
        pytest.param(PERSON.replace('key = "PERSON_ORDINAL"\n', ""), "key", id="missing column"),
        pytest.param(PERSON.replace('"PERSON"', "7"), "$.service[0].name", id="wrong type"),
        pytest.param(PERSON.replace('"ORI"', '"SOAP"'), "SOAP", id="unknown api"),
        pytest.param(PERSON.replace('"ORI"', '"ori"'), "ori", id="api in lower case"),
        pytest.param(PERSON.replace('"/persons"', '""'), "'PERSON' has an empty path", id="empty path"),
        pytest.param(PERSON.replace('"PERSON"', '""'), "'' has an empty name", id="empty name"),
        pytest.param(PERSON.replace('"PERSON_CHANNEL"', '""'), "'PERSON' has an empty channel", id="empty channel"),
        pytest.param(PERSON.replace('"PERSON_ORDINAL"', '""'), "'PERSON' has an empty key", id="empty key"),
        pytest.param(PERSON.replace("PERSON_CHANNEL", "A.B"), "channel 'A.B'", id="dot in channel"),
        pytest.param(PERSON.replace("PERSON_CHANNEL", "A*"), "channel 'A*'", id="star in channel"),
        pytest.param(PERSON.replace("PERSON_CHANNEL", ">"), "channel '>'", id="wildcard channel"),
        pytest.param(PERSON.replace("PERSON_CHANNEL", "A B"), "channel 'A B'", id="space in channel"),
        pytest.param(PERSON.replace("PERSON_CHANNEL", "A\\tB"), "channel 'A\\tB'", id="tab in channel"),
        pytest.param(
            PERSON + COUNTRY.replace('"COUNTRY"', '"PERSON"', 1), "name 'PERSON' appears twice", id="name twice"
        ),
        pytest.param(
            PERSON + COUNTRY.replace("COUNTRY_CHANNEL", "PERSON_CHANNEL"),
            "channel 'PERSON_CHANNEL' appears twice",
            id="channel twice",
        ),
        pytest.param(
            PERSON + COUNTRY.replace('key = "COUNTRY"', 'key = "PERSON_ORDINAL"'),
            "key 'PERSON_ORDINAL' appears twice",
            id="key twice",
        ),
        pytest.param(PERSON + "one_time = true", "'PERSON': an export", id="one-time export"),
        pytest.param(COUNTRY.replace("one_time = true", ""), "'COUNTRY': URN has no ordinal", id="repeated codebook"),
        pytest.param(PERSON + 'query = "{ x }"', "'PERSON': a query goes with", id="query without GraphQL"),
        pytest.param(SCALES.replace('query = "query', 'query = ""\n#'), "'SCALES': a query goes with", id="no query"),
    ],
)
def test_an_invalid_table_is_rejected_with_the_reason(tmp_path: Path, content: str | bytes, error: str) -> None:
    """The error names the file and the reason, for everything that can be invalid in a table."""
    path = write_table(tmp_path, content)
    with pytest.raises(ConfigurationError) as raised:
        load_services(path)
    assert str(path) in str(raised.value)
    assert error in str(raised.value)


@pytest.mark.parametrize("channel", ["POST_UPDATE", "POST_UPDATE_FINISH", "SCHEDULER_STATUS_CHANNEL"])
def test_a_channel_cannot_be_a_reserved_subject(tmp_path: Path, channel: str) -> None:
    """A table whose chunks would be sent on one of the project's own subjects is rejected."""
    with pytest.raises(ConfigurationError, match=channel):
        load_services(write_table(tmp_path, PERSON.replace("PERSON_CHANNEL", channel)))


@pytest.mark.parametrize("key", ["CURRENT_EXECUTION_HASH", "POST_UPDATE_RUNNING", "IMPORTER_PRODUCER_LOCK"])
def test_a_key_cannot_be_a_reserved_key(tmp_path: Path, key: str) -> None:
    """A table whose ordinals would overwrite one of the project's own keys is rejected."""
    with pytest.raises(ConfigurationError, match=key):
        load_services(write_table(tmp_path, PERSON.replace("PERSON_ORDINAL", key)))


@pytest.mark.parametrize("suffix", ["SCHEDULED", "UPDATED", "FAILED", "EXECUTION", "CHUNKS", "ERRORS"])
def test_a_key_cannot_be_a_counter_of_another_service(tmp_path: Path, suffix: str) -> None:
    """A table in which the ordinal of one service is a counter of another is rejected."""
    content = PERSON + COUNTRY.replace('key = "COUNTRY"', f'key = "PERSON_ORDINAL_{suffix}"')
    with pytest.raises(ConfigurationError, match=f"PERSON_ORDINAL_{suffix}"):
        load_services(write_table(tmp_path, content))


def test_all_errors_in_a_table_are_reported_at_once(tmp_path: Path) -> None:
    """A table with two errors is rejected with both of them."""
    with pytest.raises(ConfigurationError, match=r"(?s)empty path.*appears twice|appears twice.*empty path"):
        load_services(write_table(tmp_path, PERSON + PERSON.replace('"/persons"', '""')))


def test_an_unreadable_table_is_a_configuration_error(tmp_path: Path) -> None:
    """A file that does not exist is reported by its name."""
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        load_services(tmp_path / "absent.toml")


def test_chosen_services_keep_the_order_of_the_table() -> None:
    """A subset has the table's order, in whatever order it is written, and counts a repeated name once."""
    services = choose_services(load_services(), ["PLAN", "PERSON", "PLAN"])
    assert [service.name for service in services] == ["PERSON", "PLAN"]


def test_an_empty_choice_means_all_services() -> None:
    """Without names, all services of the table are chosen."""
    assert choose_services(load_services(), []) == load_services()


def test_an_unknown_service_is_reported() -> None:
    """Every name that the table does not have is reported, together with the names that it has."""
    with pytest.raises(ConfigurationError, match=r"unknown: PERSONS, person; the table has ADMISSION_TYPE, .*PERSON,"):
        choose_services(load_services(), ["PERSONS", "PLAN", "person"])


@pytest.mark.parametrize(
    ("api", "is_export"),
    [
        ("ORI", True),
        ("KORI", True),
        ("ILMO", True),
        ("OSUVA", True),
        ("KORI_PUBLIC", False),
        ("URN", False),
        ("GRAPHQL", False),
    ],
)
def test_only_exports_are_paged_by_ordinal(api: str, *, is_export: bool) -> None:
    """Four kinds of API have ordinals; the three others return everything at once."""
    assert Api(api).is_export is is_export
