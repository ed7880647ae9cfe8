"""Parsing SISU's responses: entities stay as they were written, and a response that breaks the contract is invalid."""

import json
from collections.abc import Callable

import pytest

from shared.model.batch import ONE_TIME_ORDINAL, Batch
from shared.model.services import Api, Service
from shared.sisu.responses import (
    InvalidResponseError,
    LaggingResponseError,
    MalformedResponseError,
    parse_response,
)

EXPORTS = [Api.ORI, Api.KORI, Api.ILMO, Api.OSUVA]
PERSON = Service("PERSON", Api.ORI, "ORI_PERSON_CHANNEL", "LATEST_PERSON_ORDINAL", "/persons/v1/export")
PERIODS = Service("PERIODS", Api.KORI_PUBLIC, "PERIODS_CHANNEL", "PERIODS", "/periods", one_time=True)
COUNTRY = Service("COUNTRY", Api.URN, "COUNTRY_CHANNEL", "COUNTRY", "/urn:code:country", one_time=True)
SCALES = Service("SCALES", Api.GRAPHQL, "SCALES_CHANNEL", "SCALES", "grade_scales", one_time=True, query="query {}")

# What parsing and writing would change: numbers, escapes, order and repetition of keys, white space.
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
    """Return the response of an export with these fields."""
    return b'{"entities":[%s],"hasMore":%s,"greatestOrdinal":%s}' % (entities, has_more.encode(), greatest.encode())


def parse(service: Service, body: bytes | str, since: int = 5) -> Batch:
    """Return the batch that is parsed from this response."""
    return parse_response(service, since, body if isinstance(body, bytes) else body.encode())


@pytest.mark.parametrize("api", EXPORTS)
def test_a_page_of_an_export_becomes_a_batch(api: Api) -> None:
    """All kinds of export are parsed alike: the entities, whether there is more, and the next ordinal."""
    service = Service("X", api, "X", "X", "/x")
    batch = parse(service, page(b'{"id":"a"},{"id":"b"}', "true", "9"))
    assert (batch.service, batch.since, batch.greatest_ordinal, batch.has_more) == (service, 5, 9, True)
    assert [bytes(entity) for entity in batch.entities] == [b'{"id":"a"}', b'{"id":"b"}']


@pytest.mark.parametrize("entity", FRAGILE)
def test_an_entity_keeps_the_bytes_that_sisu_wrote(entity: bytes) -> None:
    """No number is rounded, no key reordered and no escape rewritten, at any position in the response."""
    batch = parse(PERSON, page(b", \n".join([entity, b"{}", entity])))
    assert [bytes(each) for each in batch.entities] == [entity, b"{}", entity]
    assert [bytes(each) for each in parse(PERIODS, b"[" + entity + b"]").entities] == [entity]


@pytest.mark.parametrize("entity", FRAGILE)
def test_an_entity_of_graphql_keeps_its_bytes(entity: bytes) -> None:
    """The entities in a GraphQL response are not changed either."""
    batch = parse(SCALES, b'{"data":{"grade_scales":[' + entity + b"]}}")
    assert [bytes(each) for each in batch.entities] == [entity]


@pytest.mark.parametrize("greatest", [5, 2**53 - 1])
def test_ordinals_are_exact(greatest: int) -> None:
    """An ordinal is parsed to the last digit; one that does not change is valid."""
    assert parse(PERSON, page(greatest=str(greatest))).greatest_ordinal == greatest


@pytest.mark.parametrize("greatest", [2**53, 2**63, 10**30])
def test_an_impossible_ordinal_is_invalid(greatest: int) -> None:
    """An ordinal above what JSON represents exactly is invalid, since storing it would skip everything up to it."""
    with pytest.raises(InvalidResponseError, match="greatestOrdinal"):
        parse(PERSON, page(greatest=str(greatest)))


def test_an_empty_page_with_progress_is_valid() -> None:
    """A page without entities but with a greater ordinal is a batch like any other."""
    batch = parse(PERSON, page(has_more="true", greatest="6"))
    assert (list(batch.entities), batch.greatest_ordinal, batch.has_more) == ([], 6, True)


def test_further_fields_are_ignored() -> None:
    """SISU may add fields to its responses."""
    assert parse(PERSON, b'{"took":3,"entities":[],"hasMore":false,"greatestOrdinal":7,"x":{}}').greatest_ordinal == 7


def test_a_page_may_be_larger_than_requested_and_repeat_an_id() -> None:
    """Neither the number of entities nor a repeated id makes a response invalid."""
    entity = b'{"id":"a"}'
    assert len(parse(PERSON, page(b",".join([entity] * 5000))).entities) == 5000


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(page(has_more="true", greatest="5"), "never end", id="more without progress"),
        pytest.param(page(b'{"id":"a"}', "true", "5"), "never end", id="entities and more without progress"),
        pytest.param(page(b"{}", greatest="null"), "greatestOrdinal", id="null ordinal"),
        pytest.param(page(has_more="true", greatest="null"), "greatestOrdinal", id="more, and a null ordinal"),
        pytest.param(page(greatest='"7"'), "greatestOrdinal", id="ordinal as text"),
        pytest.param(page(greatest="7.5"), "greatestOrdinal", id="fractional ordinal"),
        pytest.param(page(greatest="true"), "greatestOrdinal", id="boolean ordinal"),
        pytest.param(page(has_more="null"), "hasMore", id="null hasMore"),
        pytest.param(page(has_more='"false"'), "hasMore", id="hasMore as text"),
        pytest.param(b'{"entities":[1],"hasMore":false}', "greatestOrdinal", id="no ordinal"),
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
def test_a_page_that_breaks_the_contract_is_invalid(body: bytes, error: str) -> None:
    """A response that a retry cannot fix raises InvalidResponseError with the reason."""
    with pytest.raises(InvalidResponseError, match=error):
        parse(PERSON, body)


@pytest.mark.parametrize("entities", [b"", b'{"id":"a"}'])
@pytest.mark.parametrize("has_more", ["true", "false"])
@pytest.mark.parametrize("greatest", ["4", "0", "-1"])
def test_a_page_with_an_older_ordinal_is_of_a_lagging_replica(entities: bytes, has_more: str, greatest: str) -> None:
    """Entities or more of them with an ordinal before ours: another attempt may reach another replica."""
    if not entities and has_more == "false":
        return  # the last page, below
    with pytest.raises(LaggingResponseError, match="went back"):
        parse(PERSON, page(entities, has_more, greatest))


@pytest.mark.parametrize(
    ("greatest", "behind"),
    [(b',"greatestOrdinal":0', None), (b',"greatestOrdinal":null', None), (b"", None), (b',"greatestOrdinal":4', 4)],
)
def test_an_empty_last_page_moves_nothing_whatever_its_ordinal_is(greatest: bytes, behind: int | None) -> None:
    """Our ordinal stays; the batch says where SISU has less than it had."""
    batch = parse(PERSON, b'{"entities":[],"hasMore":false%s}' % greatest)
    assert (batch.greatest_ordinal, batch.has_more, list(batch.entities), batch.behind) == (5, False, [], behind)


UNREADABLE = [
    pytest.param(b'{"id":"a","x":"\\ud83d"}', id="lone surrogate"),
    pytest.param(b'{"id":"a","x":"\\udc00 "}', id="lone low surrogate"),
    pytest.param(b'{"id":"a","x":NaN}', id="NaN"),
    pytest.param(b'{"id":"a","x":-Infinity}', id="Infinity"),
    pytest.param(b'{"id":"a","x":"\xff"}', id="not UTF-8"),
    pytest.param(b'{"id":"\xc3"}', id="half a character before a quotation mark"),
    pytest.param(b'{"id":"a","x":"\xed\xa0\x80"}', id="surrogate in UTF-8"),
    pytest.param(b'{"id":"a","x":"\n"}', id="control character"),
    pytest.param(b'{"id":"a",}', id="comma too many"),
    pytest.param(b'{"x":' * 501 + b"1" + b"}" * 501, id="nested deeper than the limit"),
    pytest.param(b'{"x":' * 5000 + b"1" + b"}" * 5000, id="nested too deeply for a parser"),
]


@pytest.mark.parametrize("bad", UNREADABLE)
@pytest.mark.parametrize("position", range(3))
def test_one_unreadable_entity_does_not_affect_the_rest(bad: bytes, position: int) -> None:
    """The page is split all the same, byte for byte, and the batch names the entity that no parser accepts."""
    entities = [b'{"id":"]}\\"[{"}', '{"id":"ä"}'.encode()]
    entities.insert(position, bad)
    batch = parse(PERSON, page(b" ,\n".join(entities), "true", "9"))
    assert [bytes(entity) for entity in batch.entities] == entities
    assert list(batch.unreadable) == [position]
    assert (batch.greatest_ordinal, batch.has_more) == (9, True)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(page(b"NaN", greatest="NaN"), id="the ordinal, too"),
        pytest.param(page(b"NaN").replace(b"hasMore", b"has\xff"), id="a key of the page, too"),
        pytest.param(page(b"NaN")[:-1], id="cut off"),
        pytest.param(page(b"NaN") + b"x", id="something after the end"),
        pytest.param(page(b"NaN,"), id="a comma too many in the page"),
        pytest.param(page(b'{"x":NaN]}'), id="brackets that do not match"),
        pytest.param(page(b'{"x":"NaN}'), id="a text without an end"),
        pytest.param(b'{"entities":[NaN],"entities":[1],"hasMore":false,"greatestOrdinal":7}', id="twice"),
        pytest.param(b'{"entities":{"entities":[NaN]},"hasMore":false,"greatestOrdinal":7}', id="deeper within"),
    ],
)
def test_an_invalid_page_is_not_attributed_to_an_entity(body: bytes) -> None:
    """Where more than entities cannot be parsed, the whole page is rejected."""
    with pytest.raises((MalformedResponseError, InvalidResponseError)):
        parse(PERSON, body)


@pytest.mark.parametrize(
    "entity",
    [
        pytest.param(b'{"x":' * 500 + b"1" + b"}" * 500, id="500 levels"),
        pytest.param(b"[" + b",".join([b'{"x":[[],[]]}'] * 5000) + b"]", id="wide"),
        pytest.param(b'["' + b"[" * 5000 + b'"]', id="brackets in a text"),
    ],
)
def test_an_entity_of_sensible_depth_is_readable(entity: bytes) -> None:
    """It is the depth that counts, not the number of brackets."""
    assert list(parse(PERSON, page(entity)).unreadable) == []


GOOD = {
    PERSON: page(b'{"id":"\xc3\xa4"}'),
    PERIODS: b'[{"id":"\xc3\xa4"}]',
    COUNTRY: b'{"urn:1":{"urn":"urn:1","name":"\xc3\xa4"}}',
    SCALES: b'{"data":{"grade_scales":[{"id":"\xc3\xa4"}]}}',
}


@pytest.mark.parametrize("service", GOOD, ids=lambda service: service.name)
def test_a_response_truncated_anywhere_is_malformed(service: Service) -> None:
    """A response that is cut off at any byte can be requested again; it is neither valid nor a broken contract."""
    whole = GOOD[service]
    assert len(parse(service, whole).entities) == 1
    for length in range(len(whole)):
        with pytest.raises(MalformedResponseError):
            parse(service, whole[:length])


@pytest.mark.parametrize("service", GOOD, ids=lambda service: service.name)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: b"<!doctype html><html>Sign in</html>", id="a web page"),
        pytest.param(lambda good: good + b"x", id="something after the end"),
        pytest.param(lambda good: good[:-1] + b"," + good[-1:], id="comma too many"),
        pytest.param(lambda good: good.replace(b'"}', b'"'), id="bracket too few"),
        pytest.param(lambda good: b"\xef\xbb\xbf" + good, id="byte order mark"),
        pytest.param(lambda good: good.replace(b'":', b'\xa4":'), id="not UTF-8"),
        pytest.param(lambda good: good.replace(b'":', b'\xed\xa0\x80":'), id="lone surrogate"),
        pytest.param(lambda good: good.decode().encode("utf-16"), id="UTF-16"),
    ],
)
def test_a_response_that_is_not_json_is_malformed(service: Service, change: Callable[[bytes], bytes]) -> None:
    """A web page of a proxy, or corrupted bytes, can be requested again, for every kind of API.

    A single entity of an export that cannot be parsed is a matter of that entity.
    """
    with pytest.raises(MalformedResponseError):
        parse(service, change(GOOD[service]))


@pytest.mark.parametrize("service", [PERIODS, COUNTRY, SCALES], ids=lambda service: service.name)
def test_a_response_that_is_nested_too_deeply_is_an_error(service: Service) -> None:
    """A response that would exhaust the parser's stack is an error like any other."""
    deep = b'"x":' + b"[" * 100_000 + b"]" * 100_000
    with pytest.raises((InvalidResponseError, MalformedResponseError)):
        parse(service, GOOD[service].replace(b'"\xc3\xa4"', b'"\xc3\xa4",' + deep))


def test_invalid_utf8_is_detected_at_its_position() -> None:
    """Bytes that are not UTF-8 are not passed on, though only bounds are parsed."""
    with pytest.raises(MalformedResponseError, match=r"not UTF-8 \(byte 8\)"):
        parse(PERIODS, b'[{"id":"\xff"}]')


def test_a_public_list_becomes_one_batch() -> None:
    """A one-time service has all of its entities in one response, and a fixed ordinal."""
    batch = parse(PERIODS, b'[{"id":"a"},{"id":"b"}]', since=0)
    assert [bytes(entity) for entity in batch.entities] == [b'{"id":"a"}', b'{"id":"b"}']
    assert (batch.greatest_ordinal, batch.has_more) == (ONE_TIME_ORDINAL, False)


def test_an_item_of_a_codebook_becomes_an_entity() -> None:
    """Each item gets its urn as its id and the state ACTIVE; the rest of it stays as it was written."""
    item = b'{"urn":"urn:code:country:246","id":"old","name":{"fi":"Suomi"},"order":1.0,"big":12345678901234567890}'
    batch = parse(COUNTRY, b'{"urn:code:country:246":' + item + b',"other":{"urn":"urn:2","documentState":"DRAFT"}}')
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
def test_a_one_time_response_of_another_shape_is_invalid(service: Service, body: bytes) -> None:
    """A response that does not have the shape of its kind of API is invalid."""
    with pytest.raises(InvalidResponseError):
        parse(service, body)


def test_a_graphql_response_may_have_an_empty_list_of_errors() -> None:
    """An empty list of errors, which some servers send, is not an error."""
    assert list(parse(SCALES, b'{"data":{"grade_scales":[]},"errors":[]}').entities) == []


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
def test_an_error_never_quotes_the_response(service: Service, body: str) -> None:
    """The content of a response may be personal data, so neither an error nor its causes contain it."""
    with pytest.raises((InvalidResponseError, MalformedResponseError)) as raised:
        parse(service, body)
    assert PERSONAL not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
