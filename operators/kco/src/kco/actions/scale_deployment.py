"""scale_deployment: set or step the replicas of a Deployment or StatefulSet through its scale subresource."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from kco.actions.handler import (
    FAILED,
    SKIPPED,
    SUCCEEDED,
    ActionHandler,
    Context,
    Parameters,
    Permission,
    Result,
)
from kco.actions.workload import WORKLOADS
from kco.spec.targetapp import TargetAppSpec
from operator_kit.kube.client import Resource
from operator_kit.kube.failure import ApiFailure

AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers")


class ScaleDeploymentParameters(Parameters):
    """Give `replicas` (a number) or `step` (such as 1 or -2)."""

    deployment_name: str = Field(min_length=1, max_length=253)
    kind: Literal["Deployment", "StatefulSet"] = "Deployment"
    replicas: int | None = Field(default=None, ge=0, le=10000)
    step: int | None = Field(default=None, ge=-1000, le=1000)
    min: int = Field(default=0, ge=0)
    max: int = Field(default=10000, ge=0)
    force: bool = False

    @field_validator("replicas", "step", mode="before")
    @classmethod
    def _digits(cls, given: Any) -> Any:
        return int(given) if isinstance(given, str) and given.strip().lstrip("+-").isdigit() else given

    @model_validator(mode="after")
    def _one(self) -> "ScaleDeploymentParameters":
        if (self.replicas is None) == (self.step is None):
            raise ValueError("give exactly one of replicas and step")
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class ScaleDeployment(ActionHandler):
    name: ClassVar[str] = "scale_deployment"
    parameters: ClassVar[type[Parameters]] = ScaleDeploymentParameters

    def permissions(self, parameters: ScaleDeploymentParameters, spec: TargetAppSpec) -> list[Permission]:
        plural = WORKLOADS[parameters.kind].plural
        return [
            Permission("get", plural, "apps", "scale"),
            Permission("patch", plural, "apps", "scale"),
            Permission("list", "horizontalpodautoscalers", "autoscaling"),
        ]

    async def execute(self, context: Context) -> Result:
        parameters: ScaleDeploymentParameters = context.parameters
        resource = WORKLOADS[parameters.kind]
        what = f"{parameters.kind} {parameters.deployment_name}"
        try:
            scale = await context.client.get(resource, context.namespace, parameters.deployment_name, "scale")
        except ApiFailure as failure:
            if failure.not_found:
                return Result(FAILED, f"{what} does not exist", retryable=False)
            raise
        current = int((scale.get("spec") or {}).get("replicas") or 0)
        wanted = parameters.replicas if parameters.replicas is not None else current + (parameters.step or 0)
        wanted = max(parameters.min, min(parameters.max, wanted))
        output = {"from": current, "to": wanted}
        if wanted == current:
            return Result(SKIPPED, f"{what} has {current} replicas already", output)
        if not parameters.force:
            autoscaler = await _autoscaler(context, parameters)
            if autoscaler is not None:
                reason = (
                    f"{what} is scaled by HorizontalPodAutoscaler {autoscaler}; set force to scale anyway"
                )
                return Result(FAILED, reason, output, retryable=False)
        # The scale subresource with a merge patch: nothing but the number is sent, no resourceVersion.
        await context.client.patch(
            resource,
            context.namespace,
            parameters.deployment_name,
            {"spec": {"replicas": wanted}},
            subresource="scale",
        )
        return Result(SUCCEEDED, f"{what} scaled from {current} to {wanted}", output)


async def _autoscaler(context: Context, parameters: ScaleDeploymentParameters) -> str | None:
    try:
        listing = await context.client.list(AUTOSCALERS, context.namespace)
    except ApiFailure as failure:
        if failure.not_found:
            return None
        raise
    for body in listing.get("items") or []:
        reference = (body.get("spec") or {}).get("scaleTargetRef") or {}
        if (reference.get("kind"), reference.get("name")) == (parameters.kind, parameters.deployment_name):
            return str(body["metadata"]["name"])
    return None
