"""The guide to the report: its table of what epsilon means is computed again."""

import re
from pathlib import Path

from scipy.stats import norm

from protocols.dp.gaussian import gaussian_epsilon
from secure_bfl.report.wording import percent_up

DELTA = 1e-5


def test_the_guides_table_is_right() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "read-a-budget-report.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) of 100", guide, re.MULTILINE)
    assert [row[0] for row in rows] == ["0.1", "1", "2", "4", "8"]
    for epsilon, detected in rows:
        low, high = 1e-3, 10.0  # mu of the Gaussian mechanism with this epsilon at delta 1e-5
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (middle, high) if gaussian_epsilon(middle, DELTA) < float(epsilon) else (low, middle)
        assert percent_up(norm.cdf(norm.ppf(0.01) + low)) == detected
