"""Products of the market, as the wire has them."""

from typing import Any

from tests.market.models import Product
from tests.support.device import Device
from tests.support.device import steps as step_of

PRODUCT = "market.product"


def delta(device: Device, product: Product, **steps: Any) -> dict[str, Any]:
    """A change of a product's counters, each by one step."""
    return device.put(
        PRODUCT, str(product.pk), {name: step_of({"delta": step}) for name, step in steps.items()}
    )


def elements(product: Product) -> list[str]:
    return sorted(product.tags.values_list("pk", flat=True))


def new_product(**more: Any) -> dict[str, Any]:
    return {"name": "Figs", "stock": 0, "sold": "0", "weight": "0.00", "ordered": None, **more}
