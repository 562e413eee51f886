"""Past in, future distribution out: forecasts that admit what can be known."""
