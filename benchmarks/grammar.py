"""A grammar of financial sentences: templates, and words to fill them.

Knows lengths only roughly, by the letters of words; no tokenizer is needed.
"""

import random
import re
from collections.abc import Callable

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

STEMS = (
    "Alder", "Amber", "Arrow", "Ashford", "Aurora", "Baltic", "Beacon", "Birch", "Blue", "Bright",
    "Cedar", "Clear", "Copper", "Coral", "Crown", "Delta", "Eagle", "Eastern", "Elm", "Falcon",
    "Forest", "Global", "Golden", "Granite", "Green", "Harbor", "Highland", "Iron", "Island",
    "Lake", "Maple", "Marble", "Meadow", "Metro", "North", "Oak", "Ocean", "Orchard", "Pacific",
    "Pine", "Prime", "Quarry", "River", "Silver", "Solar", "Southern", "Sterling", "Stone",
    "Summit", "Vega",
)  # fmt: skip
TRADES = (
    "Bank", "Brands", "Capital", "Chemicals", "Energy", "Foods", "Forest Products", "Freight",
    "Health", "Holdings", "Insurance", "Logistics", "Media", "Metals", "Mining", "Motors",
    "Networks", "Paper", "Pharma", "Power", "Properties", "Retail", "Semiconductors", "Shipping",
    "Software", "Steel", "Systems", "Telecom", "Textiles", "Tools",
)  # fmt: skip
PLACES = (
    "Austria", "Brazil", "Canada", "Denmark", "Estonia", "Finland", "France", "Germany", "India",
    "Italy", "Japan", "Latvia", "Mexico", "Norway", "Poland", "Portugal", "Spain", "Sweden",
    "Turkey", "the Baltic states", "the United Kingdom", "the United States",
)  # fmt: skip
FIGURES = (
    "net sales", "operating profit", "net profit", "revenue", "order intake", "pre-tax profit",
    "order book", "cash flow", "gross margin", "turnover", "earnings per share", "net debt",
)  # fmt: skip
RISES = ("rose", "increased", "climbed", "grew", "jumped", "fell", "decreased", "dropped", "slid")
NEWS = (
    "cuts outlook", "raises guidance", "wins order", "shares rise", "shares fall",
    "names new chief", "misses estimates", "beats estimates", "sells unit", "to cut jobs",
    "warns on profit", "keeps dividend", "plans share issue", "opens new plant", "ends talks",
)  # fmt: skip
GOODS = (
    "paper machines", "cranes", "wind turbines", "mobile networks", "office buildings", "ferries",
    "building materials", "steel products", "medical devices", "heating systems", "trucks",
    "payment terminals", "packaging board", "software licences", "fertilisers", "elevators",
)  # fmt: skip
CAUSES = (
    "weak demand", "strong demand", "higher raw material costs", "lower prices", "a weaker dollar",
    "one-off items", "restructuring costs", "growth in new markets", "lower volumes",
    "a better product mix", "delays in deliveries", "cost savings",
)  # fmt: skip
PERIODS = (
    "the first quarter", "the second quarter", "the third quarter", "the fourth quarter",
    "the first half", "the second half", "the full year", "the period under review",
)  # fmt: skip
OFFICERS = ("chief executive", "chairman", "finance director", "head of sales", "analyst")
SPEECH = ("said", "commented", "told reporters", "said in a statement", "estimated")

SHORT = ("{company} {news}", "{company} {news}.", "{place}: {company} {news}", "{company} {rise}")

CORES = (
    "{company} said its {figure} {rise} to {amount}",
    "{company}'s {figure} {rise} {percent} in {period}",
    "{company} has won an order for {goods} in {place}",
    "{company} will sell its {goods} business in {place} to {company}",
    "{company} and {company} have signed an agreement on {goods}",
    "{company} plans to invest {amount} in {place}",
    "{company} reported {figure} of {amount} for {period}",
    "{company} will cut {number} jobs in {place}",
    "The value of the order for {goods} is {amount}",
    "Shares of {company} {rise} {percent} after the report",
    "The company expects {figure} to remain at the level of {year}",
    "{company} starts the delivery of {goods} to {place}",
)

TAILS = (
    " due to {cause}",
    ", up from {amount} a year earlier",
    ", down from {amount} in {period} of {year}",
    ", the {officer} of {company} {speech}",
    " in {place}",
    " as {figure} {rise} by {percent}",
    " and {figure} {rise} to {amount}",
    ", of which {percent} came from {place}",
    " mainly because of {cause}",
    " in {period}",
    ", compared with a loss of {amount} in {year}",
    " through its unit {company}",
    " by the end of {year}",
    ", while {figure} {rise} {percent} on {cause}",
    ", which supplies {goods} to customers in {place}",
    " despite {cause}",
    ", excluding the acquisition of {company}",
    " with deliveries from {year}",
    ", and about {number} employees will be affected",
    ", according to {company}",
)

SLOT = re.compile(r"\{(\w+)\}")
PIECES = re.compile(r"\d{1,3}|[^\W\d]+|[^\w\s]")

LETTERS_A_PIECE = 9
"""Up to so many letters a word is one token, as a rule; each so many more add one."""

SPECIAL_TOKENS = 2

FILLERS: dict[str, Callable[[random.Random], str]] = {
    "company": lambda source: f"{source.choice(STEMS)} {source.choice(TRADES)}",
    "place": lambda source: source.choice(PLACES),
    "figure": lambda source: source.choice(FIGURES),
    "rise": lambda source: source.choice(RISES),
    "news": lambda source: source.choice(NEWS),
    "goods": lambda source: source.choice(GOODS),
    "cause": lambda source: source.choice(CAUSES),
    "period": lambda source: source.choice(PERIODS),
    "officer": lambda source: source.choice(OFFICERS),
    "speech": lambda source: source.choice(SPEECH),
    "year": lambda source: str(source.randint(2002, 2024)),
    "number": lambda source: str(source.randint(20, 4000)),
    "percent": lambda source: f"{source.randint(1, 89)}.{source.randint(0, 9)} %",
    "amount": lambda source: (
        f"{source.choice(('EUR', 'USD', 'SEK'))} {source.randint(1, 980)}."
        f"{source.randint(0, 9)} {source.choice(('mn', 'million', 'billion'))}"
    ),
}


def sentence(source: random.Random, *, tokens: float) -> str:
    """Return a sentence of about `tokens` tokens, special ones included."""
    if tokens < 10:
        return _filled(source.choice(SHORT), source)
    text = _filled(source.choice(CORES), source)
    tails = source.sample(TAILS, len(TAILS))
    while tails and (missing := tokens - _roughly(text) - 1) > 2:
        addition = _filled(tails.pop(), source)
        if len(addition.split()) <= missing + 2:
            text += addition
    return text + " ."


def _filled(template: str, source: random.Random) -> str:
    return SLOT.sub(lambda slot: FILLERS[slot[1]](source), template)


def _roughly(text: str) -> int:
    """Return about how many tokens a text has."""
    pieces = PIECES.findall(text)
    return SPECIAL_TOKENS + sum(1 + (len(piece) - 1) // LETTERS_A_PIECE for piece in pieces)
