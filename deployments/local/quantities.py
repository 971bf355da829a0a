"""Resource quantities: `512Mi`, `100m`. Pure."""

from decimal import Decimal

from deployments.local.objects import mapped
from deployments.local.resources import JsonObject

_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def parse_quantity(text: str | float) -> Decimal:
    """Return the amount in base units (bytes, cores).

    Raises:
        ValueError: The text is no quantity.
    """
    raw = str(text)
    number = raw.rstrip("kKmMGTi")
    unit = raw[len(number) :]
    if unit == "m":
        return Decimal(number) / 1000
    if unit not in _UNITS:
        raise ValueError(raw)
    return Decimal(number) * _UNITS[unit]


def memory_limit_bytes(container: JsonObject) -> int | None:
    """Return the container's memory limit; None for none."""
    limit = mapped(mapped(container, "resources"), "limits").get("memory")
    return None if limit is None else int(parse_quantity(limit))


def format_resource(container: JsonObject, reference: JsonObject) -> str:
    """Return a `resourceFieldRef`, rounded up to its divisor."""
    kind, _, name = reference["resource"].partition(".")
    amount = mapped(mapped(container, "resources"), kind).get(name, "0")
    divisor = parse_quantity(reference.get("divisor") or "1") or Decimal(1)
    return str(-int(-parse_quantity(amount) // divisor))


def format_quantity(name: str, amount: Decimal) -> str:
    """Write an amount of a resource (`limits.memory`, `cpu`) as the server does."""
    if amount != amount.to_integral_value():
        return f"{int(amount * 1000)}m"
    whole = int(amount)
    is_binary = name.rpartition(".")[2] in ("memory", "storage", "ephemeral-storage")
    base, units = (1024, ("Ti", "Gi", "Mi", "Ki")) if is_binary else (1000, ("T", "G", "M", "k"))
    for power, unit in zip((4, 3, 2, 1), units, strict=True):
        if whole and whole % base**power == 0:
            return f"{whole // base**power}{unit}"
    return str(whole)
