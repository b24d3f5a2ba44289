"""Financial texts written for this project's tests, and how to make them any length."""

TEXTS = (
    "Operating profit rose to EUR 13.1 mn from EUR 8.7 mn in the same quarter a year ago.",
    "The company will cut 1,200 jobs at its paper mills by the end of the year.",
    "Net sales amounted to USD 4.2 bn, in line with analysts' expectations.",
    "Shares fell 7 % after the chipmaker warned of weaker demand for smartphones.",
    "The board proposes a dividend of 0.45 per share, unchanged from last year.",
    "Order intake grew for the sixth quarter in a row, led by customers in Asia.",
    "The bank set aside another $600 million to cover bad loans.",
    "The annual general meeting will be held in Helsinki on 14 April.",
    "Rating agency lifts outlook to positive on lower debt",
    "Loss widens",
    "Profit doubles!",
    "The retailer opened its 300th store.",
    "Revenue at the unit slid to 88 million pounds, hurt by a strong dollar and mild weather.",
    "Terms of the deal were not disclosed.",
    "Margins improved as raw material prices eased, the steelmaker said on Thursday.",
    "The airline grounded a third of its fleet and withdrew its guidance.",
    "S&P 500 closes flat; oil steady at $71.30 a barrel",
    "Crédit Foncier à Zürich: bénéfice en hausse, « très solide »",
    "央行下调存款准备金率 0.5 个百分点",
    "$TSLA 🚀🚀 to the moon?! https://example.com/x?y=z #stocks",
    "Q3 EPS -$0.12 vs. -$0.31 est.; FY23 rev. guide raised to $1.05-1.10bn",
    "CEO resigns amid accounting probe",
    "The plant in Tampere employs 85 people.",
    "Unemployment claims fell to their lowest level in half a century, the Labor Department said.",
)


def text_of(words: int) -> str:
    """Return a text of about `words` words."""
    pool = " ".join(TEXTS).split()
    return " ".join(pool[index % len(pool)] for index in range(words))


MIXED_LENGTHS = (*TEXTS, *(text_of(words) for words in (1, 2, 3, 10, 60, 120, 250, 330, 600)))
"""From a single word to more than a model of 512 tokens reads."""
