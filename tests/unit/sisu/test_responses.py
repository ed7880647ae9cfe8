"""Reading SISU's answers: entities as they were written, and every answer that breaks the contract refused."""

import json
from collections.abc import Callable

import pytest

from shared.model.batch import ONE_TIME_ORDINAL, Batch
from shared.model.services import Api, Service
from shared.sisu.responses import InvalidResponseError, MalformedResponseError, parse_response

EXPORTS = [Api.ORI, Api.KORI, Api.ILMO, Api.OSUVA]
PERSON = Service("PERSON", Api.ORI, "ORI_PERSON_CHANNEL", "LATEST_PERSON_ORDINAL", "/persons/v1/export")
PERIODS = Service("PERIODS", Api.KORI_PUBLIC, "PERIODS_CHANNEL", "PERIODS", "/periods", one_time=True)
COUNTRY = Service("COUNTRY", Api.URN, "COUNTRY_CHANNEL", "COUNTRY", "/urn:code:country", one_time=True)
SCALES = Service("SCALES", Api.GRAPHQL, "SCALES_CHANNEL", "SCALES", "grade_scales", one_time=True, query="query {}")

# As a parser and a writer would change them: numbers, escapes, order and repetition of keys, white space.
FRAGILE = [
    b'{"id":"a","x":1.0}',
    b'{"id":"a","x":1e2,"y":1E+2,"z":-0.0}',
    b'{"id":"a","x":12345678901234567890}',
    b'{"id":"a","x":9007199254740993,"y":0.1000000000000000055511151231257827}',
    b'{"z":1,"id":"a","a":2,"a":3}',
    b'{ "id" : "a" ,\n\t"x" : [ 1 , 2 ] }',
    b'{"id":"\\u00e4\\/\\u2028\\ud83c\\udf93"}',
    '{"id":"ä🎓\u2028"}'.encode(),
    b"{}",
    b"7",
    b"null",
]

PERSONAL = "Meikäläinen"


def page(entities: bytes = b"", has_more: str = "false", greatest: str = "7") -> bytes:
    return b'{"entities":[%s],"hasMore":%s,"greatestOrdinal":%s}' % (entities, has_more.encode(), greatest.encode())


def read(service: Service, body: bytes | str, since: int = 5) -> Batch:
    return parse_response(service, since, body if isinstance(body, bytes) else body.encode())


@pytest.mark.parametrize("api", EXPORTS)
def test_a_page_of_an_export_becomes_a_batch(api: Api) -> None:
    """All kinds of export are read alike: entities, whether there is more, and the next ordinal."""
    service = Service("X", api, "X", "X", "/x")
    batch = read(service, page(b'{"id":"a"},{"id":"b"}', "true", "9"))
    assert (batch.service, batch.since, batch.greatest_ordinal, batch.has_more) == (service, 5, 9, True)
    assert [bytes(entity) for entity in batch.entities] == [b'{"id":"a"}', b'{"id":"b"}']


@pytest.mark.parametrize("entity", FRAGILE)
def test_an_entity_is_the_bytes_that_sisu_wrote(entity: bytes) -> None:
    """No number is rounded, no key reordered and no escape rewritten, wherever the entity stands."""
    batch = read(PERSON, page(b", \n".join([entity, b"{}", entity])))
    assert [bytes(e) for e in batch.entities] == [entity, b"{}", entity]
    assert [bytes(e) for e in read(PERIODS, b"[" + entity + b"]").entities] == [entity]


@pytest.mark.parametrize("entity", FRAGILE)
def test_an_entity_of_graphql_is_the_bytes_that_were_answered(entity: bytes) -> None:
    """Entities in a GraphQL answer travel as they were, too."""
    batch = read(SCALES, b'{"data":{"grade_scales":[' + entity + b"]}}")
    assert [bytes(e) for e in batch.entities] == [entity]


@pytest.mark.parametrize("greatest", [5, 2**53 - 1])
def test_ordinals_are_exact(greatest: int) -> None:
    """An ordinal is read to the last digit; staying where it was is no fault."""
    assert read(PERSON, page(greatest=str(greatest))).greatest_ordinal == greatest


@pytest.mark.parametrize("greatest", [2**53, 2**63, 10**30])
def test_an_ordinal_that_cannot_be_is_refused(greatest: int) -> None:
    """An ordinal above what JSON carries exactly is not believed: storing it would skip everything up to it."""
    with pytest.raises(InvalidResponseError, match="greatestOrdinal"):
        read(PERSON, page(greatest=str(greatest)))


def test_an_empty_page_with_progress_goes_on() -> None:
    """A page without entities whose ordinal moves on is a batch like any other."""
    batch = read(PERSON, page(has_more="true", greatest="6"))
    assert (list(batch.entities), batch.greatest_ordinal, batch.has_more) == ([], 6, True)


def test_further_fields_are_ignored() -> None:
    """SISU may add fields to its answers."""
    assert read(PERSON, b'{"took":3,"entities":[],"hasMore":false,"greatestOrdinal":7,"x":{}}').greatest_ordinal == 7


def test_a_page_may_be_larger_than_asked_and_repeat_an_id() -> None:
    """How many entities come, and how often one of them, is no matter of the answer's shape."""
    entity = b'{"id":"a"}'
    assert len(read(PERSON, page(b",".join([entity] * 5000))).entities) == 5000


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        pytest.param(page(greatest="4"), "went back", id="ordinal goes back"),
        pytest.param(page(greatest="-1"), "went back", id="negative ordinal"),
        pytest.param(page(has_more="true", greatest="5"), "never end", id="more without progress"),
        pytest.param(page(b'{"id":"a"}', "true", "5"), "never end", id="entities and more without progress"),
        pytest.param(page(greatest="null"), "greatestOrdinal", id="null ordinal"),
        pytest.param(page(greatest='"7"'), "greatestOrdinal", id="ordinal as text"),
        pytest.param(page(greatest="7.5"), "greatestOrdinal", id="fractional ordinal"),
        pytest.param(page(greatest="true"), "greatestOrdinal", id="boolean ordinal"),
        pytest.param(page(has_more="null"), "hasMore", id="null hasMore"),
        pytest.param(page(has_more='"false"'), "hasMore", id="hasMore as text"),
        pytest.param(b'{"entities":[],"hasMore":false}', "greatestOrdinal", id="no ordinal"),
        pytest.param(b'{"entities":[],"greatestOrdinal":7}', "hasMore", id="no hasMore"),
        pytest.param(b'{"hasMore":false,"greatestOrdinal":7}', "entities", id="no entities"),
        pytest.param(b'{"entities":null,"hasMore":false,"greatestOrdinal":7}', "entities", id="null entities"),
        pytest.param(b'{"entities":{},"hasMore":false,"greatestOrdinal":7}', "entities", id="entities as object"),
        pytest.param(b"[]", "object", id="a list"),
        pytest.param(b"null", "object", id="null"),
        pytest.param(b'"text"', "object", id="a text"),
        pytest.param(b"{}", "entities", id="an empty object"),
    ],
)
def test_a_page_that_breaks_the_contract_is_refused(body: bytes, complaint: str) -> None:
    """What asking again cannot mend is told with what is wrong about it."""
    with pytest.raises(InvalidResponseError, match=complaint):
        read(PERSON, body)


GOOD = {
    PERSON: page(b'{"id":"\xc3\xa4"}'),
    PERIODS: b'[{"id":"\xc3\xa4"}]',
    COUNTRY: b'{"urn:1":{"urn":"urn:1","name":"\xc3\xa4"}}',
    SCALES: b'{"data":{"grade_scales":[{"id":"\xc3\xa4"}]}}',
}


@pytest.mark.parametrize("service", GOOD, ids=lambda service: service.name)
def test_an_answer_cut_off_anywhere_may_be_asked_for_again(service: Service) -> None:
    """Wherever an answer breaks off, what is left never passes for one, and never for a broken contract."""
    whole = GOOD[service]
    assert len(read(service, whole).entities) == 1
    for length in range(len(whole)):
        with pytest.raises(MalformedResponseError):
            read(service, whole[:length])


@pytest.mark.parametrize("service", GOOD, ids=lambda service: service.name)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: b"<!doctype html><html>Sign in</html>", id="a page"),
        pytest.param(lambda good: good + b"x", id="something after the end"),
        pytest.param(lambda good: good.replace(b'"}', b'",}'), id="comma too many"),
        pytest.param(lambda good: good.replace(b'"}', b'"'), id="bracket too few"),
        pytest.param(lambda good: b"\xef\xbb\xbf" + good, id="byte order mark"),
        pytest.param(lambda good: good.replace(b"\xc3", b""), id="not UTF-8"),
        pytest.param(lambda good: good.replace(b"\xc3\xa4", b"\xed\xa0\x80"), id="lone surrogate"),
        pytest.param(lambda good: good.decode().encode("utf-16"), id="UTF-16"),
    ],
)
def test_an_answer_that_is_no_json_may_be_asked_for_again(service: Service, change: Callable[[bytes], bytes]) -> None:
    """A page of a proxy or bytes that were corrupted are told apart from a broken contract, for every kind of API."""
    with pytest.raises(MalformedResponseError):
        read(service, change(GOOD[service]))


@pytest.mark.parametrize("service", GOOD, ids=lambda service: service.name)
def test_an_answer_nested_beyond_reason_is_refused(service: Service) -> None:
    """An answer that would exhaust the parser's stack is an error like any other."""
    deep = b'"x":' + b"[" * 100_000 + b"]" * 100_000
    with pytest.raises((InvalidResponseError, MalformedResponseError)):
        read(service, GOOD[service].replace(b'"\xc3\xa4"', b'"\xc3\xa4",' + deep))


def test_bad_utf8_within_an_entity_is_found() -> None:
    """An entity whose bytes are no UTF-8 is not passed on, though only its bounds are parsed."""
    with pytest.raises(MalformedResponseError, match=r"not UTF-8 \(byte 20\)"):
        read(PERSON, page(b'{"id":"\xff"}'))


def test_a_public_list_becomes_one_batch() -> None:
    """A one-time service has all of its entities in one answer, and a fixed ordinal."""
    batch = read(PERIODS, b'[{"id":"a"},{"id":"b"}]', since=0)
    assert [bytes(entity) for entity in batch.entities] == [b'{"id":"a"}', b'{"id":"b"}']
    assert (batch.greatest_ordinal, batch.has_more) == (ONE_TIME_ORDINAL, False)


def test_an_item_of_a_codebook_becomes_an_entity() -> None:
    """Each item has its urn for an id and is ACTIVE; all else of it stays as it was written."""
    item = b'{"urn":"urn:code:country:246","id":"old","name":{"fi":"Suomi"},"order":1.0,"big":12345678901234567890}'
    batch = read(COUNTRY, b'{"urn:code:country:246":' + item + b',"other":{"urn":"urn:2","documentState":"DRAFT"}}')
    first, second = (bytes(entity) for entity in batch.entities)
    assert b'"order":1.0' in first
    assert b'"big":12345678901234567890' in first
    assert json.loads(first) == json.loads(item) | {"id": "urn:code:country:246", "documentState": "ACTIVE"}
    assert json.loads(second) == {"urn": "urn:2", "id": "urn:2", "documentState": "ACTIVE"}
    assert (batch.greatest_ordinal, batch.has_more) == (ONE_TIME_ORDINAL, False)


@pytest.mark.parametrize(
    ("service", "body"),
    [
        pytest.param(PERIODS, b"{}", id="public: object"),
        pytest.param(PERIODS, b"null", id="public: null"),
        pytest.param(COUNTRY, b"[]", id="codebook: list"),
        pytest.param(COUNTRY, b'{"a":7}', id="codebook: item is no object"),
        pytest.param(COUNTRY, b'{"a":{"name":"x"}}', id="codebook: item without urn"),
        pytest.param(COUNTRY, b'{"a":{"urn":7}}', id="codebook: urn is a number"),
        pytest.param(COUNTRY, b'{"a":{"urn":null}}', id="codebook: urn is null"),
        pytest.param(SCALES, b"[]", id="graphql: list"),
        pytest.param(SCALES, b"{}", id="graphql: nothing"),
        pytest.param(SCALES, b'{"data":null}', id="graphql: null"),
        pytest.param(SCALES, b'{"data":{}}', id="graphql: without the field"),
        pytest.param(SCALES, b'{"data":{"grade_scales":null}}', id="graphql: null field"),
        pytest.param(SCALES, b'{"data":{"grade_scales":{}}}', id="graphql: field is no list"),
        pytest.param(SCALES, b'{"data":{"grade_scales":[]},"errors":[{"message":"x"}]}', id="graphql: errors"),
    ],
)
def test_a_one_time_answer_of_another_shape_is_refused(service: Service, body: bytes) -> None:
    """Each kind of API has its shape, and nothing else passes for it."""
    with pytest.raises(InvalidResponseError):
        read(service, body)


def test_a_graphql_answer_may_have_an_empty_list_of_errors() -> None:
    """Some servers write errors where there are none."""
    assert list(read(SCALES, b'{"data":{"grade_scales":[]},"errors":[]}').entities) == []


@pytest.mark.parametrize(
    ("service", "body"),
    [
        (PERSON, f'{{"{PERSONAL}":"{PERSONAL}","entities":[{{"id":"{PERSONAL}"'),
        (PERSON, f'{{"entities":"{PERSONAL}","hasMore":false,"greatestOrdinal":1}}'),
        (PERSON, f'{{"entities":[],"hasMore":"{PERSONAL}","greatestOrdinal":1}}'),
        (PERSON, f'{{"entities":[],"hasMore":true,"greatestOrdinal":"{PERSONAL}"}}'),
        (PERSON, f'"{PERSONAL}"'),
        (PERSON, PERSONAL),
        (PERIODS, f'{{"{PERSONAL}":1}}'),
        (COUNTRY, f'{{"{PERSONAL}":"{PERSONAL}"}}'),
        (COUNTRY, f'{{"{PERSONAL}":{{"name":"{PERSONAL}"}}}}'),
        (COUNTRY, f'{{"{PERSONAL}":{{"urn":["{PERSONAL}"]}}}}'),
        (SCALES, f'{{"errors":[{{"message":"{PERSONAL}"}}]}}'),
        (SCALES, f'{{"data":{{"{PERSONAL}":[]}}}}'),
        (SCALES, f'{{"data":{{"{PERSONAL}":"{PERSONAL}"}}}}'),
    ],
)
def test_an_error_never_quotes_the_answer(service: Service, body: str) -> None:
    """What an answer held is personal data: neither an error nor its causes have it."""
    with pytest.raises((InvalidResponseError, MalformedResponseError)) as refused:
        read(service, body)
    assert PERSONAL not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
