"""Units in which series and features are of ordinary size, known from the training part alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attention_apps.running.command import UserError


@dataclass(frozen=True)
class Scaling:
    """Centre and unit of everything that is read and forecast; float64.

    Attributes:
        center: of the series, `(targets,)`.
        scale: of the series and its changes, `(targets,)`.
        feature_center: `(variables, features)`.
        feature_scale: `(variables, features)`.
        known_center: of the known columns, `(known,)`.
        known_scale: `(known,)`.
    """

    center: np.ndarray
    scale: np.ndarray
    feature_center: np.ndarray
    feature_scale: np.ndarray
    known_center: np.ndarray
    known_scale: np.ndarray

    @classmethod
    def fit(
        cls,
        series: np.ndarray,
        features: np.ndarray,
        known: np.ndarray,
        *,
        rows: int,
        cutoff: int,
        target: str,
        names: tuple[str, ...],
    ) -> Scaling:
        """Measure mean and standard deviation on the first rows.

        Log prices are in units of the standard deviation of their daily change, for they have no
        mean; everything else in units of its own. Changes are not centred: no change is 0.

        Args:
            series: `(time, targets)`.
            features: `(time, variables, features)`.
            known: columns whose future is known, `(time, known)`.
            rows: how many rows to measure on.
            cutoff: the first row that training may not see.
            target: `returns`, `volatility` or `levels`.
            names: of the variables, for complaints.

        Raises:
            ValueError: when `rows` reaches beyond the cut-off.
            UserError: for a variable that never changes, or of which a column is never usable.
        """
        if rows > cutoff:
            raise ValueError(
                "Scaling may be measured on the training part alone, which ends before row "
                f"{cutoff}. Received: {rows} rows"
            )
        series, features, known = series[:rows], features[:rows], known[:rows]
        if target == "returns":
            center, scale = np.zeros(series.shape[1]), np.diff(series, axis=0).std(0)
        else:
            center, scale = series.mean(0), series.std(0)
        feature_center, feature_scale = features.mean(0), features.std(0)
        if target != "levels":
            feature_center[:, -1] = 0.0
        lost = ~np.isfinite(feature_scale).all(-1)
        if lost.any():
            raise UserError(
                f"{names[int(lost.argmax())]} has rows without a usable value in the training "
                f"part, rows 1 to {rows}: a column is empty or begins later, or no day has a range "
                "between High and Low. Leave it out"
            )
        constant = (feature_scale <= 1e-12 * (1 + np.abs(feature_center))).any(-1)
        constant[: len(scale)] |= scale <= 1e-12 * (1 + np.abs(center))
        if constant.any():
            raise UserError(
                f"{names[int(constant.argmax())]} does not change in the training part, rows 1 to "
                f"{rows}, or what is read beside it does not: there is nothing to learn from it. "
                "Leave it out"
            )
        spread = known.std(0)
        return cls(
            center,
            scale,
            feature_center,
            feature_scale,
            known.mean(0),
            np.where(spread > 0, spread, 1.0),
        )

    def scaled_series(self, series: np.ndarray) -> np.ndarray:
        """From raw to scaled, `(time, targets)` float64."""
        return (series - self.center) / self.scale

    def scaled_features(self, features: np.ndarray) -> np.ndarray:
        """From raw to scaled, `(time, variables, features)` float32."""
        return ((features - self.feature_center) / self.feature_scale).astype(np.float32)

    def scaled_known(self, known: np.ndarray) -> np.ndarray:
        """From raw to scaled, `(time, known)` float32."""
        return ((known - self.known_center) / self.known_scale).astype(np.float32)
