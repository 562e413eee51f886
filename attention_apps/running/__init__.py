"""Floor 3: what every room needs unchanged to run, resume, export and end well."""
