"""What is measured and what is wanted: the work, and the targets for each, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Operation = Literal["generation", "edit", "form", "illustration", "conversion"]
AnswerName = Literal["8k", "1500k", "4000k"]
Figure = Literal["rate_x_nginx", "added_p50_ms", "added_p99_ms", "cpu_x_nginx", "peak_rss_mb", "failed"]


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of load: `clients` connections, each of which sends its next request when it has its answer.

    `answer` is about the length of the provider's answer, `latency_s` how long the provider thinks. Connections start
    evenly over `ramp_s`; what ends in the `warm_s` from the start on is not counted, what ends in the `measure_s` after
    that is.
    """

    name: str
    operation: Operation
    answer: AnswerName
    clients: int
    latency_s: float = 0.0
    ramp_s: float = 0.0
    warm_s: float = 0.5
    measure_s: float = 2.0


WORKS = (
    Work("8k-1", "generation", "8k", clients=1, measure_s=1.5),
    Work("8k-8", "generation", "8k", clients=8),
    Work("8k-64", "generation", "8k", clients=64),
    Work("1500k-8", "generation", "1500k", clients=8),
    Work("4000k-8", "generation", "4000k", clients=8),
    Work("edit-4", "edit", "8k", clients=4),
    Work("form-4", "form", "8k", clients=4),
    Work("1500k-64-200ms", "generation", "1500k", clients=64, latency_s=0.2, ramp_s=0.2, warm_s=1.0),
    # A thousand at once would measure a queue; a thousand people do not press the button in the same millisecond.
    Work("8k-1000-2s", "generation", "8k", clients=1000, latency_s=2.0, ramp_s=2.0, warm_s=2.5, measure_s=4.0),
)

# What a server does only once, such as reading its vocabulary, is over before anything is measured.
WARM_UP = (
    Work("warm-up", "generation", "8k", clients=8, warm_s=0, measure_s=1),
    Work("warm-up-edit", "edit", "8k", clients=2, warm_s=0, measure_s=1),
    Work("warm-up-form", "form", "8k", clients=2, warm_s=0, measure_s=1),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What Omixa should reach in one figure of one work: at this stage, and in the end."""

    work: str
    figure: Figure
    first_stage: float
    goal: float

    @property
    def at_least(self) -> bool:
        """Tell whether more is better."""
        return self.figure == "rate_x_nginx"

    def reached(self, value: float, limit: float) -> bool:
        """Tell whether a value is as good as a limit."""
        return value >= limit if self.at_least else value <= limit


# Billing on, results durable before the charge, medians of one run's rounds.
TARGETS = (
    Target("8k-8", "rate_x_nginx", 0.05, 0.09),
    Target("8k-8", "added_p50_ms", 6, 4),
    Target("8k-8", "cpu_x_nginx", 30, 12),
    Target("8k-64", "rate_x_nginx", 0.06, 0.13),
    Target("1500k-8", "rate_x_nginx", 0.2, 0.5),
    Target("1500k-8", "cpu_x_nginx", 7, 2),
    Target("edit-4", "rate_x_nginx", 0.3, 0.6),
    Target("edit-4", "cpu_x_nginx", 7, 3.5),
    Target("1500k-64-200ms", "rate_x_nginx", 0.8, 0.97),
    Target("1500k-64-200ms", "peak_rss_mb", 400, 160),
    Target("8k-1000-2s", "failed", 0, 0),
    Target("8k-1000-2s", "added_p99_ms", 200, 50),
)
