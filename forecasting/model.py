"""The forecaster: the random walk, and what a linear and an attentive reading of the past add.

Everything added starts at zero, so an untrained forecaster is the random walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from attention_apps.running.command import UserError
from forecasting.config import Config
from forecasting.quantiles import NonCrossing
from forecasting.readers import READERS
from forecasting.series import num_changes
from forecasting.units import Units

if TYPE_CHECKING:
    from forecasting.data import Splits


@keras.saving.register_keras_serializable("attention_apps.forecasting")
class Forecaster(keras.Model):
    """Forecasts how far each series moves from its last value, as quantiles or a single value.

    `change = walk + linear(past) + reader(past, known)`, each in scaled units. What the known
    columns explain of a level is taken off the past and put back onto the forecast (Lin et al.
    2024); of a change it is summed over the forecast rows.

    Args:
        lookback: rows that are read.
        horizon: rows that are forecast.
        num_variables: variables that are read.
        num_targets: variables that are forecast, the first ones.
        num_features: what is read of each row and variable.
        num_relative: how many of the first features are seen relative to their last value.
        num_changes: how many of the last features are changes from the row before.
        num_known: what is known of past and future rows; 0 for nothing.
        num_columns: how many of it are declared columns, behind the calendar.
        static: what tells variables apart, `(variables, static)`, as nested lists.
        levels: of the quantiles; none forecasts a single value.
        growth: of the gaps between quantiles, see `NonCrossing`.
        form: `time`, `variables` or `both`, see `readers`.
        patch_length: rows of a patch.
        dim: size of embeddings.
        num_heads: number of attention heads.
        feedforward_dim: size of the inner feed-forward layers.
        num_layers: number of self-attention blocks.
        self_attention: mechanism of the blocks, as a flag names it.
        horizon_attention: mechanism of the forecast rows, as a flag names it.
        dropout_rate: share dropped in training.
        **kwargs: Keras's model arguments.

    Call arguments:
        inputs: `past` `(batch, lookback, variables, features)` and, where anything is known,
            `known` `(batch, lookback + horizon, known)`, both scaled.
        training: whether to drop.

    Returns:
        Changes from the last value, `(batch, horizon, targets, outputs)`.

    Reference: for the linear part Zeng et al. 2023, "Are Transformers Effective for Time Series
    Forecasting?" (NLinear); for the known part Lin et al. 2024, "CycleNet: Enhancing Time Series
    Forecasting through Modeling Periodic Patterns"; for attention see `readers`.
    """

    def __init__(
        self,
        *,
        lookback: int,
        horizon: int,
        num_variables: int,
        num_targets: int,
        num_features: int,
        num_relative: int,
        num_changes: int,
        num_known: int,
        num_columns: int,
        static: list[list[float]],
        levels: tuple[float, ...],
        growth: str = "softplus",
        form: str,
        patch_length: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        num_layers: int,
        self_attention: str,
        horizon_attention: str,
        dropout_rate: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sizes: dict[str, Any] = {
            "lookback": lookback,
            "horizon": horizon,
            "num_variables": num_variables,
            "num_targets": num_targets,
            "num_features": num_features,
            "num_relative": num_relative,
            "num_changes": num_changes,
            "num_known": num_known,
            "num_columns": num_columns,
            "static": static,
            "levels": tuple(levels),
            "growth": growth,
            "form": form,
            "patch_length": patch_length,
            "dim": dim,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "num_layers": num_layers,
            "self_attention": self_attention,
            "horizon_attention": horizon_attention,
            "dropout_rate": dropout_rate,
        }
        self.lookback, self.horizon, self.num_targets = lookback, horizon, num_targets
        self.num_variables, self.num_known = num_variables, num_known
        self.num_features, self.num_relative = num_features, num_relative
        self.num_changes, self.levels = num_changes, tuple(levels)
        self.form = form
        num_outputs = max(1, len(levels))
        self.linear = keras.layers.Dense(
            horizon * num_outputs, kernel_initializer="zeros", name="linear"
        )
        self.known_effect: Any = (
            keras.layers.Dense(
                num_variables, use_bias=False, kernel_initializer="zeros", name="known_effect"
            )
            if num_known
            else None
        )
        self.reader = READERS[form](
            horizon=horizon,
            num_targets=num_targets,
            num_outputs=num_outputs,
            num_known=num_known,
            static=static,
            patch_length=patch_length,
            dim=dim,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            num_layers=num_layers,
            dropout_rate=dropout_rate,
            self_attention=self_attention,
            horizon_attention=horizon_attention,
            name=f"{form}_reader",
        )
        self.units = Units(
            num_variables=num_variables,
            num_targets=num_targets,
            num_features=num_features,
            num_columns=num_columns,
            name="units",
        )
        self.output_quantiles = NonCrossing(
            horizon=horizon,
            num_targets=num_targets,
            levels=tuple(levels),
            growth=growth,
            name="quantiles",
        )

    def build(self, input_shape: Any = None) -> None:
        """Create all weights."""
        past = (None, self.lookback, self.num_variables, self.num_features)
        self.linear.build((None, self.num_targets, self.lookback * self.num_features))
        known = None
        if self.known_effect is not None:
            known = (None, self.lookback + self.horizon, self.num_known)
            self.known_effect.build(known)
        self.reader.build(past, known)
        self.output_quantiles.build()
        self.units.build()
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """See the class."""
        past, ahead = self.shown(inputs)
        free = self.linear(self.flat(past))
        free = ops.reshape(free, (-1, self.num_targets, self.horizon, max(1, len(self.levels))))
        free = ops.transpose(free, (0, 2, 1, 3))
        free = free + self.reader(past, inputs.get("known"), training=training)
        if ahead is not None:
            free = ops.concatenate([free[..., :1] + ahead, free[..., 1:]], axis=-1)
        return self.output_quantiles(free)

    def shown(self, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """What linear part and reader see, and what the known columns say of the forecast rows.

        Args:
            inputs: see the class.

        Returns:
            The past `(batch, lookback, variables, features)`, and changes from the last value
            `(batch, horizon, targets, 1)`, or None where nothing is known.
        """
        if self.known_effect is None:
            return self._shown(inputs["past"], None), None
        effect = self.known_effect(inputs["known"])
        return self._shown(inputs["past"], effect), self._ahead(effect)

    def flat(self, past: Any) -> Any:
        """What the linear part sees of every target, `(batch, targets, lookback * features)`."""
        series = ops.transpose(past[:, :, : self.num_targets], (0, 2, 1, 3))
        return ops.reshape(series, (-1, self.num_targets, self.lookback * self.num_features))

    def _shown(self, past: Any, effect: Any) -> Any:
        """The past as it is read: without what is known anyway, relative to the last value."""
        parts = [past[..., index : index + 1] for index in range(self.num_features)]
        # A level is the first feature, a change the last: the one that is forecast.
        own = 0 if self.num_relative else self.num_features - 1
        if effect is not None:
            parts[own] = parts[own] - effect[:, : self.lookback, :, None]
        for index in range(self.num_relative):
            parts[index] = parts[index] - parts[index][:, -1:]
        for index in range(self.num_features - self.num_changes, self.num_features):
            # The change into the first row belongs to a row that is not read.
            parts[index] = ops.concatenate(
                [ops.zeros_like(parts[index][:, :1]), parts[index][:, 1:]], axis=1
            )
        return ops.concatenate(parts, axis=-1)

    def _ahead(self, effect: Any) -> Any:
        """What the known columns say of the forecast rows, `(batch, horizon, targets, 1)`."""
        ahead = effect[:, self.lookback :, : self.num_targets]
        if self.num_relative:
            ahead = ahead - effect[:, self.lookback - 1 : self.lookback, : self.num_targets]
        else:
            ahead = ops.cumsum(ahead, axis=1)
        return ahead[..., None]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this model again."""
        return {**super().get_config(), **self.sizes}


def build_model(config: Config, splits: Splits) -> Forecaster:
    """Build the room's model with weights drawn from Keras's global seed.

    Args:
        config: the room's configuration.
        splits: the data, whose sizes, units and random walk the model takes.

    Returns:
        The built model, which forecasts as the random walk does.

    Raises:
        UserError: for an attention that is unknown or does not fit its site.
    """
    windows, variables = splits.windows, config.form == "variables"
    try:
        model = Forecaster(
            lookback=config.lookback,
            horizon=config.horizon,
            num_variables=windows.features.shape[1],
            num_targets=windows.series.shape[1],
            num_features=windows.features.shape[2],
            num_relative=splits.num_relative,
            num_changes=num_changes(config.target, config.context),
            num_known=windows.known.shape[1],
            num_columns=splits.panel.known.shape[1],
            static=splits.panel.static.tolist(),
            levels=config.levels,
            growth="exp" if config.start == "spread" else "softplus",
            form=config.form,
            patch_length=config.patch_length,
            dim=config.dim,
            num_heads=config.num_heads,
            feedforward_dim=config.feedforward_dim,
            num_layers=config.num_layers,
            self_attention=config.variable_attention if variables else config.time_attention,
            horizon_attention=config.horizon_attention,
            dropout_rate=config.dropout_rate,
            name="forecaster",
        )
        model.build()  # some of its layers, and what they refuse, come with the shapes
    except ValueError as error:
        raise UserError(str(error)) from error
    model.output_quantiles.set_walk(windows.changes(splits.parts.origins("training")))
    model.units.take(splits.scaling)
    return model


def with_uniform_attention(model: Forecaster) -> Forecaster:
    """The same weights with attention that looks at everything alike: what remains without it.

    Args:
        model: the trained forecaster.

    Returns:
        A forecaster of its own.
    """
    config = model.get_config()
    uniform = Forecaster.from_config(
        {**config, "self_attention": "uniform", "horizon_attention": "uniform"}
    )
    uniform.build()
    trained = {weight.path: weight for weight in model.weights}
    for weight in uniform.weights:
        weight.assign(trained[weight.path])
    return uniform
