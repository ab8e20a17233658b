"""One Prefect task per stage of Algorithm 1, each a thin wrapper around `tripost_core.stages.execute`."""
