"""Ways to break manifests: each returns a function that changes `Manifests` in place."""

GONE = object()


def put(kind, path, value):
    """The field of the first object of `kind` at `path`, a JSON pointer, becomes `value`."""

    def mutate(manifests):
        *steps, last = (
            int(step) if step.isdigit() else step.replace("~1", "/") for step in path.split("/")
        )
        place = manifests.all(kind)[0]
        for step in steps:
            place = place[step]
        if value is GONE:
            del place[last]
        else:
            place[last] = value

    return mutate


def pod(path, value):
    return put("Deployment", f"spec/template/spec/{path}", value)


def container(path, value):
    return pod(f"containers/0/{path}", value)


def resource(name, quantity):
    """Another quantity of a resource, asked for and given alike."""

    def mutate(manifests):
        for side in manifests.container["resources"].values():
            side[name] = quantity

    return mutate


def setting(name, value):
    """One more variable, or another value for one that is there."""

    def mutate(manifests):
        variables = manifests.container["env"]
        variables[:] = [each for each in variables if each["name"] != name]
        if value is not GONE:
            variables.append({"name": name, "value": value})

    return mutate


def without(kind):
    def mutate(manifests):
        manifests.objects[:] = [each for each in manifests.objects if each["kind"] != kind]

    return mutate


def twice(kind):
    def mutate(manifests):
        manifests.objects.append(manifests.one(kind))

    return mutate
