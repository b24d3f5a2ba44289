"""What no source file may do, read from its syntax: rules that a linter does not know."""

import ast

import pytest

RULES = {
    "no code from data": lambda node: (
        called(node) in {"eval", "exec", "compile", "__import__"}
        or called(node).startswith(("yaml.load", "yaml.unsafe_load", "marshal.load"))
    ),
    "no pickles": lambda node: (
        imports(node) & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
        or keyword(node, "allow_pickle", True)
    ),
    "weights are data": lambda node: (
        called(node) == "torch.load" and not keyword(node, "weights_only", True)
    ),
    "no code from a model": lambda node: (
        any(each.arg == "trust_remote_code" for each in getattr(node, "keywords", []))
        and not keyword(node, "trust_remote_code", False)
    ),
    "no shell": lambda node: (
        (isinstance(node, ast.keyword) and node.arg == "shell")
        or called(node) in {"os.system", "os.popen", "subprocess.getoutput", "pty.spawn"}
    ),
    "certificates are checked": lambda node: (
        keyword(node, "verify", False) or called(node) == "ssl._create_unverified_context"
    ),
    "nobody listens everywhere by default": lambda node: (
        isinstance(node, ast.Constant) and node.value in ("0.0.0.0", "::")
    ),
    "time that cannot be set back": lambda node: (
        called(node) in {"time.time", "datetime.now", "datetime.utcnow", "loop.time.time"}
    ),
    "no random numbers that can be guessed": lambda node: (
        called(node)
        in {"random.random", "random.choice", "random.randbytes", "uuid1", "uuid.uuid1"}
    ),
    "secrets are compared in constant time": lambda node: (
        isinstance(node, ast.Compare)
        and any(isinstance(how, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for how in node.ops)
        and any(secret(side) for side in (node.left, *node.comparators))
    ),
    "no temporary file that another may own": lambda node: called(node) == "tempfile.mktemp",
}
"""What a rule is for -> whether a node breaks it."""

BROKEN = [
    ("no code from data", "eval(text)"),
    ("no code from data", "yaml.load(file)"),
    ("no pickles", "import pickle"),
    ("no pickles", "from pickle import loads"),
    ("no pickles", "np.load(path, allow_pickle=True)"),
    ("weights are data", "torch.load(path)"),
    ("weights are data", "torch.load(path, weights_only=False)"),
    ("no code from a model", "AutoModel.from_pretrained(path, trust_remote_code=True)"),
    ("no code from a model", "AutoModel.from_pretrained(path, trust_remote_code=trusted)"),
    ("no shell", "subprocess.run(command, shell=True)"),
    ("no shell", "os.system(command)"),
    ("certificates are checked", "httpx.get(url, verify=False)"),
    ("nobody listens everywhere by default", "def serve(host='0.0.0.0'): ..."),
    ("time that cannot be set back", "deadline = time.time() + 1"),
    ("no random numbers that can be guessed", "key = random.random()"),
    ("secrets are compared in constant time", "ok = given == self._api_key"),
    ("secrets are compared in constant time", "ok = settings.api_keys[0] != given"),
    ("secrets are compared in constant time", "ok = given_secret in secrets"),
    ("no temporary file that another may own", "tempfile.mktemp()"),
]


def called(node):
    """Return what a call names, such as `torch.load`; else the empty string."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def keyword(node, name, value):
    return any(
        each.arg == name and isinstance(each.value, ast.Constant) and each.value.value is value
        for each in getattr(node, "keywords", [])
    )


def imports(node):
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {node.module} if isinstance(node, ast.ImportFrom) else set()


def secret(node):
    """Whether an expression is named as a secret is; a text's tokens are none."""
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    name = getattr(node, "attr", getattr(node, "id", "")).lower().strip("_")
    return name in {"secret", "password"} or any(
        part in name for part in ("api_key", "apikey", "bearer", "authorization", "secret")
    )


def sources(repository):
    return sorted([*repository.glob("*.py"), *(repository / "sentiment").rglob("*.py")])


@pytest.mark.parametrize("rule", RULES)
def test_no_source_file_breaks_this_rule(repository, rule):
    for path in sources(repository):
        place = path.relative_to(repository).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            assert not RULES[rule](node), f"{place}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(("rule", "source"), BROKEN)
def test_each_rule_finds_what_it_is_for(rule, source):
    assert any(RULES[rule](node) for node in ast.walk(ast.parse(source)))


def test_every_rule_has_been_seen_to_find_something():
    assert {rule for rule, _ in BROKEN} == RULES.keys()
