"""The forecasts of one TargetApp's `predicted` triggers, one trend for each trigger and instance."""

from collections.abc import Mapping
from typing import Any

from kco.prediction.trend import Trend
from kco.rules.trigger import Forecast
from kco.spec.rule import Trigger
from kco.spec.targetapp import TargetAppSpec
from kco.state.value import is_number, values_at

# The trend looks back over one horizon: what is asked about the next ten minutes is learnt from the last ten.
LOOK_BACK = 1.0


class Forecaster:
    """Learns from every answer, changed or not."""

    __slots__ = ("_latest", "_trends", "_triggers")

    def __init__(self, spec: TargetAppSpec) -> None:
        self._triggers: list[Trigger] = [
            leaf
            for action in spec.actions
            for leaf in action.trigger.leaves()
            if leaf.condition == "predicted"
        ]
        self._trends: dict[tuple[str, int], Trend] = {}
        self._latest: dict[tuple[str, str, float, float], Forecast] = {}

    @property
    def wanted(self) -> bool:
        """Whether any trigger asks for forecasts; nothing is learnt otherwise."""
        return bool(self._triggers)

    def learn(self, instance: str, state: Any, moment: float) -> Mapping[int, Forecast]:
        """Take a state as a sample; forecasts by the identity of their trigger."""
        forecasts: dict[int, Forecast] = {}
        for trigger in self._triggers:
            assert trigger.prediction is not None
            prediction = trigger.prediction
            found = [value for value in values_at(state, trigger.path()) if is_number(value)]
            if not found:
                continue
            trend = self._trends.setdefault((instance, id(trigger)), Trend(prediction.horizon * LOOK_BACK))
            trend.learn(float(found[0]), moment)
            answer = trend.probability(
                prediction.threshold, prediction.horizon, direction=prediction.direction
            )
            if answer is not None:
                forecasts[id(trigger)] = forecast = Forecast(answer[0], answer[1].expected)
                assert trigger.field is not None
                self._latest[(instance, trigger.field, prediction.threshold, prediction.horizon)] = forecast
        return forecasts

    def forget(self, instance: str) -> None:
        self._trends = {key: trend for key, trend in self._trends.items() if key[0] != instance}
        self._latest = {key: forecast for key, forecast in self._latest.items() if key[0] != instance}

    def series(self) -> list[tuple[str, dict[str, str], float]]:
        """As metrics: what was forecast, and how probable passing the threshold is."""
        rows = []
        for (instance, field, threshold, horizon), forecast in self._latest.items():
            labels = {
                "instance": instance,
                "field": field,
                "threshold": f"{threshold:g}",
                "horizon_seconds": f"{horizon:g}",
            }
            rows.append(("operator_kco_forecast_value", labels, forecast.expected))
            rows.append(("operator_kco_forecast_probability", labels, forecast.probability))
        return rows
