"""kco lint: find what is wrong with TargetApps, without a cluster."""

import argparse
from pathlib import Path

from kco.actions.registry import ActionRegistry
from kco.cli.main import Misuse
from kco.cli.manifest import Manifest, collect
from kco.net.url import InvalidUrl
from kco.operator.preparation import Unusable, check_actions
from kco.spec import lint
from kco.spec.document import InvalidQuery, read_schema
from kco.spec.reading import InvalidSpec, read
from kco.spec.targetapp import TargetAppSpec
from kco.spec.yaml_file import Unreadable, read_text
from kco.targets.instance import fixed_address


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", help="manifests, or folders of them")
    parser.add_argument("--schema", help="GraphQL schema (SDL or introspection result) for all of them")


def run(options: argparse.Namespace) -> int:
    manifests = collect(options.files)
    text = None
    if options.schema:
        try:
            text = read_text(Path(options.schema))
            read_schema(text)
        except Unreadable as failure:
            raise Misuse(str(failure)) from None
        except InvalidQuery as failure:
            raise Misuse(f"{options.schema}: {failure}") from None
    if not manifests.apps and not manifests.faults:
        raise Misuse("no TargetApp in " + ", ".join(options.files))
    registry = ActionRegistry()
    count = len(manifests.faults)
    for fault in manifests.faults:
        print(fault)
    for manifest in manifests.apps:
        for problem in problems(manifest, registry, text, manifests.config_maps):
            count += 1
            print(f"{manifest.path}: {manifest.name}: {problem}")
    good = len(manifests.apps)
    print(f"{good} TargetApp{'s' if good != 1 else ''} checked, {count} problem{'s' if count != 1 else ''}")
    return 1 if count else 0


def problems(
    manifest: Manifest,
    registry: ActionRegistry,
    schema_text: str | None,
    config_maps: dict[str, dict[str, str]],
) -> list[str]:
    """Everything that is wrong with one TargetApp."""
    try:
        spec = read(manifest.spec)
    except InvalidSpec as invalid:
        return invalid.problems
    found: list[str] = []
    try:
        fixed_address(spec, manifest.namespace)
    except InvalidUrl as failure:
        found.append(f"spec.graphqlEndpoint: {failure}")
    try:
        text = schema_text or _schema_of(spec, config_maps)
        _, wrong = lint.check(spec, read_schema(text) if text else None)
        found += [f"spec.{problem}" for problem in wrong]
    except InvalidQuery as failure:
        found.append(f"spec.{failure}")
    try:
        check_actions(spec, registry)
    except Unusable as unusable:
        found += unusable.problems
    return found


def _schema_of(spec: TargetAppSpec, config_maps: dict[str, dict[str, str]]) -> str | None:
    source = spec.graphql_schema
    if source is None or source.config_map_key_ref is None:
        return None
    reference = source.config_map_key_ref
    return config_maps.get(reference.name, {}).get(reference.key)
