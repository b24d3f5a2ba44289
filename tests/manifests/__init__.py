"""The Kubernetes manifests: how they are read, and what they must keep.

A rule is a function whose name is its sentence. It takes `Manifests` and raises AssertionError, or
what comes of looking for something that is not there. A rule that speaks of a kind which a set of
manifests does not have holds for it.
"""
