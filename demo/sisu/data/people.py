"""Made-up persons. Names are combined from lists of common ones, numbers are counted up: no real person is meant."""

from demo.sisu.data.codebooks import COUNTRIES, urn
from demo.sisu.data.random_entity import ROOT_ORG_ID, Content, EntityRandom

GIVEN_NAMES = (  # noqa: SIM905 - one name per line would take a page
    "Aino Anneli Antti Aleksi Anna Elias Eeva Emilia Eero Eino Hanna Heikki Helmi Hugo Ilona Isla Jaakko Johanna "
    "Kaarina Kalle Katariina Kristiina Lauri Leena Leo Liisa Maija Maria Marjatta Matti Mikael Mikko Niilo Olavi "
    "Onni Pekka Pirkko Päivi Riitta Ritva Sakari Sofia Tapani Tiina Timo Tuula Tuomas Venla Ville Väinö Åsa Björn "
    "Carl Ebba Erik Gunilla Göran Ingrid Johan Kerstin Lars Märta Ole-Jørgen Saga Sven Ulla-Maj"
).split()
_FAMILY_NAMES = (  # noqa: SIM905 - as above
    "Korhonen Virtanen Mäkinen Nieminen Mäkelä Hämäläinen Laine Heikkinen Koskinen Järvinen Lehtonen Lehtinen "
    "Salminen Heinonen Niemi Heikkilä Salonen Kinnunen Turunen Salo Laitinen Tuominen Rantanen Karjalainen Jokinen "
    "Mattila Savolainen Lahtinen Ahonen Kärkkäinen Yli-Tepsa Öhman Åkerblom Lindström Nyman Sjöberg Björklund "
    "Söderholm Wikström Öst af-Ström Grönroos Blomqvist Holmström Nordström"
).split()
_STREETS = (
    "Koivukatu",
    "Mäntytie",
    "Rantapolku",
    "Asematie",
    "Björkvägen",
    "Tähtikuja",
    "Väinämöisenraitti",
    "Ylätori",
)
_TOWNS = ("Helsinki", "Espoo", "Vantaa", "Turku", "Åbo", "Tampere", "Jyväskylä", "Hämeenlinna", "Ekenäs", "Rääkkylä")
_LANGUAGES = ("fi", "fi", "fi", "sv", "en", "ru", "et")
_TO_ASCII = str.maketrans("äöåø", "aoao", " '")


def person(rng: EntityRandom) -> Content:
    """Return a student or, now and then, an employee."""
    first, second, last = rng.one_of(GIVEN_NAMES), rng.one_of(GIVEN_NAMES), rng.one_of(_FAMILY_NAMES)
    number = f"{rng.index % 10_000_000:07d}"
    mail = f"{first}.{last}{rng.index}".lower().translate(_TO_ASCII)
    country = urn("COUNTRY", 0 if rng.chance(0.85) else rng.below(len(COUNTRIES)))
    return {
        "studentNumber": f"99{number}",
        "employeeNumber": f"9{number}" if rng.chance(0.05) else None,
        "firstNames": rng.text(f"{first} {second}"),
        "callName": first,
        "lastName": rng.text(last),
        "dateOfBirth": f"{1950 + rng.below(56)}-{1 + rng.below(12):02d}-{1 + rng.below(28):02d}",
        "dead": rng.chance(0.002),
        "dateOfDeath": None,
        "genderUrn": f"urn:code:gender:{rng.one_of(('female', 'male', 'not-known'))}",
        "citizenshipUrns": [country],
        "motherTongueUrn": f"urn:code:language:{rng.one_of(_LANGUAGES)}",
        "preferredLanguageUrn": f"urn:code:preferred-language:{rng.one_of(('fi', 'sv', 'en'))}",
        "oppijanumero": f"1.2.246.562.98.{90_000_000_000 + rng.index}",
        "oids": [f"1.2.246.562.98.{90_000_000_000 + rng.index}"],
        "eppn": f"{mail[:8]}{rng.index}@example.fi",
        "primaryEmail": f"{mail}@example.fi",
        "secondaryEmail": f"{mail}@example.com" if rng.chance(0.6) else None,
        "phoneNumber": f"+358 00 {number}",
        "primaryAddress": _address(rng, country),
        "secondaryAddress": _address(rng, country) if rng.chance(0.3) else None,
        "countryOfResidenceUrn": country,
        "municipalityUrn": f"urn:code:municipality:{rng.below(900):03d}",
        "safetyProhibition": False,
        "marketingConsents": {"newsletter": rng.chance(0.3), "surveys": rng.chance(0.5), "askedOn": rng.instant()},
        "terminationDates": [rng.date() for _ in range(rng.below(3))],
        "universityInfo": [_university_info(rng) for _ in range(1 + rng.below(3))],
    }


def _university_info(rng: EntityRandom) -> Content:
    return {
        "universityOrgId": ROOT_ORG_ID,
        "customCodeUrns": {},
        "organisationId": rng.ref("ORGANISATION"),
        "since": rng.date(),
        "share": rng.number(1.0),
    }


def _address(rng: EntityRandom, country: str) -> Content:
    return {
        "type": "FinnishAddress",
        "streetAddress": rng.text(f"{rng.one_of(_STREETS)} {1 + rng.below(120)} {rng.one_of('ABCD')} {rng.below(90)}"),
        "postalCode": f"{rng.below(99_999):05d}",
        "city": rng.one_of(_TOWNS),
        "countryUrn": country,
    }
