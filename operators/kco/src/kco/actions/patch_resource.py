"""patch_resource: patch any object of the TargetApp's namespace whose kind the operator's list allows."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from kco.actions.handler import FAILED, SUCCEEDED, ActionHandler, Context, Parameters, Permission, Result
from kco.spec.document import suggestion
from kco.spec.targetapp import TargetAppSpec
from operator_kit.kube.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from operator_kit.kube.failure import ApiFailure

# Short names of resourceType to apiVersion, kind and plural; other kinds are given by apiVersion and kind.
SHORT_NAMES = {
    "pod": ("v1", "Pod", "pods"),
    "service": ("v1", "Service", "services"),
    "configmap": ("v1", "ConfigMap", "configmaps"),
    "secret": ("v1", "Secret", "secrets"),
    "deployment": ("apps/v1", "Deployment", "deployments"),
    "replicaset": ("apps/v1", "ReplicaSet", "replicasets"),
    "daemonset": ("apps/v1", "DaemonSet", "daemonsets"),
    "statefulset": ("apps/v1", "StatefulSet", "statefulsets"),
    "job": ("batch/v1", "Job", "jobs"),
    "cronjob": ("batch/v1", "CronJob", "cronjobs"),
    "horizontalpodautoscaler": ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
}
MEDIA_TYPES = {
    "merge": MERGE_PATCH,
    "strategic": STRATEGIC_MERGE_PATCH,
    "json": JSON_PATCH,
    "apply": APPLY_PATCH,
}
FIELD_MANAGER = "kco"


class PatchResourceParameters(Parameters):
    """`resourceType` (pod, deployment, …) or `apiVersion` with `kind`."""

    resource_type: str | None = None
    api_version: str | None = None
    kind: str | None = None
    resource_name: str = Field(min_length=1, max_length=253)
    patch_data: dict[str, Any] | list[dict[str, Any]]
    patch_type: Literal["merge", "strategic", "json", "apply"] | None = None
    dry_run_first: bool = True
    force: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "PatchResourceParameters":
        if self.resource_type is not None and self.kind is not None:
            raise ValueError("give resourceType, or apiVersion with kind, not both")
        if self.resource_type is None and (self.kind is None or self.api_version is None):
            raise ValueError("give resourceType, or apiVersion with kind")
        if self.resource_type is not None and self.resource_type.lower() not in SHORT_NAMES:
            hint = suggestion(self.resource_type, list(SHORT_NAMES))
            raise ValueError(
                f"unknown resourceType {self.resource_type!r}{hint}; or give apiVersion with kind"
            )
        listed = isinstance(self.patch_data, list)
        if self.patch_type is not None and listed != (self.patch_type == "json"):
            raise ValueError("patchData is a list of operations for patchType json, an object for the others")
        return self

    @property
    def target(self) -> tuple[str, str]:
        """apiVersion and kind."""
        if self.resource_type is not None:
            api_version, kind, _ = SHORT_NAMES[self.resource_type.lower()]
            return self.api_version or api_version, kind
        assert self.api_version is not None
        assert self.kind is not None
        return self.api_version, self.kind

    @property
    def chosen_type(self) -> str:
        if self.patch_type is not None:
            return self.patch_type
        if isinstance(self.patch_data, list):
            return "json"
        # Only built-in kinds know merge keys; custom resources refuse strategic patches.
        group = self.target[0].rpartition("/")[0]
        return "strategic" if group in ("", "apps", "batch", "autoscaling", "policy") else "merge"


class PatchResource(ActionHandler):
    name: ClassVar[str] = "patch_resource"
    parameters: ClassVar[type[Parameters]] = PatchResourceParameters

    def permissions(self, parameters: PatchResourceParameters, spec: TargetAppSpec) -> list[Permission]:
        api_version, kind = parameters.target
        plural = next((row[2] for row in SHORT_NAMES.values() if row[1] == kind), kind.lower() + "s")
        group = api_version.rpartition("/")[0]
        return [Permission("patch", plural, group, name=parameters.resource_name)]

    async def execute(self, context: Context) -> Result:
        parameters: PatchResourceParameters = context.parameters
        api_version, kind = parameters.target
        try:
            resource = await context.client.resource_of(api_version, kind)
        except ApiFailure as failure:
            if failure.not_found:
                return Result(FAILED, f"the cluster has no kind {kind} in {api_version}", retryable=False)
            raise
        short = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        if short not in context.patchable and not ("*" in context.patchable and short != "secrets"):
            allowed = ", ".join(sorted(context.patchable))
            reason = f"{short} may not be patched; the operator's PATCHABLE_KINDS allows: {allowed}"
            return Result(FAILED, reason, retryable=False)
        if not resource.namespaced:
            return Result(FAILED, f"{kind} is not a namespaced kind and may not be patched", retryable=False)
        query = {"fieldManager": FIELD_MANAGER}
        body: Any = parameters.patch_data
        if parameters.chosen_type == "apply":
            query["force"] = "true" if parameters.force else "false"
            body = {
                **parameters.patch_data,  # type: ignore[dict-item]
                "apiVersion": api_version,
                "kind": kind,
                "metadata": {**body.get("metadata", {}), "name": parameters.resource_name},
            }
        media_type = MEDIA_TYPES[parameters.chosen_type]
        try:
            if parameters.dry_run_first:
                await context.client.patch(
                    resource,
                    context.namespace,
                    parameters.resource_name,
                    body,
                    media_type=media_type,
                    query={**query, "dryRun": "All"},
                )
            done = await context.client.patch(
                resource,
                context.namespace,
                parameters.resource_name,
                body,
                media_type=media_type,
                query=query,
            )
        except ApiFailure as failure:
            if failure.code in (400, 403, 404, 415, 422):
                return Result(
                    FAILED, f"{kind} {parameters.resource_name}: {failure.message}", retryable=False
                )
            raise
        version = done["metadata"].get("resourceVersion", "")
        text = f"{kind} {parameters.resource_name} patched ({parameters.chosen_type})"
        return Result(SUCCEEDED, text, {"resourceVersion": version})
