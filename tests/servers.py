"""A server process around the engine that a test controls: `python -m tests.servers`.

Everything but the engine is what `python -m sentiment serve --port 0` runs. On its standard
input it takes `hold` and `release`, and on its standard output it says `held`, `released`,
and `entered` when a batch stands at the closed gate. `hold tokenizer` and `release tokenizer`
do the same to tokenisation, and to `count` it says how many texts the engine was given. The engine
fails on texts that hold the word `poison`, and a pass takes `--token-ms` for each of its tokens.
"""

import argparse
import sys
import threading
import time

from benchmarks.reliability.double import serve_engine
from sentiment.logs import configure_logging
from sentiment.models import COMPACT_FOLDER
from sentiment.settings import Settings
from sentiment.signals import heed_signals_from_the_start
from sentiment.tokenization import Tokenization, load_tokenizer
from tests.doubles import GatedEngine


class RemoteEngine(GatedEngine):
    """Says when a batch has come to its closed gate, and takes its time."""

    def __init__(self, *, token_s):
        super().__init__()
        self._token_s = token_s
        # Small enough that the scores of any two texts differ.
        self.tamper = lambda logits: logits % 1

    def infer(self, batch):
        if not self._open.is_set():
            say("entered")
        time.sleep(self._token_s * batch.tokens)
        return super().infer(batch)


def say(word):
    print(word, flush=True)


class HeldTokenization:
    """A gate before the real tokenizer."""

    def __init__(self):
        self.open = threading.Event()
        self.open.set()
        encode = Tokenization._encode_chunk

        def encode_behind_the_gate(tokenization, *arguments):
            assert self.open.wait(timeout=30), "the test never opened the gate"
            return encode(tokenization, *arguments)

        Tokenization._encode_chunk = encode_behind_the_gate


def obey(engine):
    tokenization = HeldTokenization()
    for line in sys.stdin:
        match line.strip():
            case "hold":
                engine.hold()
                say("held")
            case "release":
                engine.release()
                say("released")
            case "hold tokenizer":
                tokenization.open.clear()
                say("held")
            case "release tokenizer":
                tokenization.open.set()
                say("released")
            case "count":
                say(sum(map(len, engine.batches)))


def main():
    heed_signals_from_the_start()
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int, nargs="?", default=0)
    parser.add_argument("--token-ms", type=float, default=0)
    arguments = parser.parse_args()
    settings = Settings.from_env()
    configure_logging(settings.log_level)
    engine = RemoteEngine(token_s=arguments.token_ms / 1000)
    engine.poison = load_tokenizer(COMPACT_FOLDER).encode("poison").ids[1]
    threading.Thread(target=obey, args=(engine,), daemon=True).start()
    serve_engine(engine, settings, port=arguments.port)


if __name__ == "__main__":
    main()
