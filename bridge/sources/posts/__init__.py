"""The source of providers' HTTP posts."""
