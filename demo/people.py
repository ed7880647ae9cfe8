"""Made-up persons. Names are put together from lists of common ones, numbers are counted up: nobody is meant."""

from demo.codebooks import COUNTRIES, urn
from demo.draw import ROOT_ORG_ID, Content, Draw

GIVEN_NAMES = (  # noqa: SIM905 - one name a line would be a page long
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
_NO_LETTERS_OF_ADDRESSES = str.maketrans("äöåø", "aoao", " '")


def person(draw: Draw) -> Content:
    """A student, or now and then an employee."""
    first, second, last = draw.one_of(GIVEN_NAMES), draw.one_of(GIVEN_NAMES), draw.one_of(_FAMILY_NAMES)
    number = f"{draw.index % 10_000_000:07d}"
    mail = f"{first}.{last}{draw.index}".lower().translate(_NO_LETTERS_OF_ADDRESSES)
    country = urn("COUNTRY", 0 if draw.chance(0.85) else draw.below(len(COUNTRIES)))
    return {
        "studentNumber": f"99{number}",
        "employeeNumber": f"9{number}" if draw.chance(0.05) else None,
        "firstNames": draw.text(f"{first} {second}"),
        "callName": first,
        "lastName": draw.text(last),
        "dateOfBirth": f"{1950 + draw.below(56)}-{1 + draw.below(12):02d}-{1 + draw.below(28):02d}",
        "dead": draw.chance(0.002),
        "dateOfDeath": None,
        "genderUrn": f"urn:code:gender:{draw.one_of(('female', 'male', 'not-known'))}",
        "citizenshipUrns": [country],
        "motherTongueUrn": f"urn:code:language:{draw.one_of(_LANGUAGES)}",
        "preferredLanguageUrn": f"urn:code:preferred-language:{draw.one_of(('fi', 'sv', 'en'))}",
        "oppijanumero": f"1.2.246.562.98.{90_000_000_000 + draw.index}",
        "oids": [f"1.2.246.562.98.{90_000_000_000 + draw.index}"],
        "eppn": f"{mail[:8]}{draw.index}@example.fi",
        "primaryEmail": f"{mail}@example.fi",
        "secondaryEmail": f"{mail}@example.com" if draw.chance(0.6) else None,
        "phoneNumber": f"+358 00 {number}",
        "primaryAddress": _address(draw, country),
        "secondaryAddress": _address(draw, country) if draw.chance(0.3) else None,
        "countryOfResidenceUrn": country,
        "municipalityUrn": f"urn:code:municipality:{draw.below(900):03d}",
        "safetyProhibition": False,
        "marketingConsents": {"newsletter": draw.chance(0.3), "surveys": draw.chance(0.5), "askedOn": draw.instant()},
        "terminationDates": [draw.date() for _ in range(draw.below(3))],
        "universityInfo": [
            {
                "universityOrgId": ROOT_ORG_ID,
                "customCodeUrns": {},
                "organisationId": draw.ref("ORGANISATION"),
                "since": draw.date(),
                "share": draw.number(1.0),
            }
            for _ in range(1 + draw.below(3))
        ],
    }


def _address(draw: Draw, country: str) -> Content:
    return {
        "type": "FinnishAddress",
        "streetAddress": draw.text(
            f"{draw.one_of(_STREETS)} {1 + draw.below(120)} {draw.one_of('ABCD')} {draw.below(90)}"
        ),
        "postalCode": f"{draw.below(99_999):05d}",
        "city": draw.one_of(_TOWNS),
        "countryUrn": country,
    }
