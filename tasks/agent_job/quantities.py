"""Kubernetes quantities as numbers."""

from decimal import Decimal, InvalidOperation

_UNITS = {"m": Decimal("0.001"), "": Decimal(1)} | {
    f"{letter}{binary}": Decimal(1024 if binary else 1000) ** power
    for power, letter in enumerate("KMGTPE", start=1)
    for binary in ("", "i")
}
_UNITS["k"] = _UNITS.pop("K")


def quantity_bytes(quantity: str) -> int:
    """Return a Kubernetes quantity of storage in bytes, rounded down."""
    return int(quantity_value(quantity))


def quantity_value(quantity: str) -> Decimal:
    """Return a Kubernetes quantity in cores, bytes or pieces.

    Raises:
        ValueError: It is none.
    """
    digits = quantity.rstrip("mkKMGTPEi")
    try:
        return Decimal(digits) * _UNITS[quantity.removeprefix(digits)]
    except (InvalidOperation, KeyError) as error:
        raise ValueError(f"{quantity!r} is not a quantity") from error
