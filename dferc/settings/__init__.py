"""params.yaml as typed, checked, frozen settings."""
