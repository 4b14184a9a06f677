"""The product that the tests of counters and of their snapshots count."""

import pytest

from tests.market.models import Product


@pytest.fixture
def apples(db: None) -> Product:
    return Product.objects.create(name="Apples", stock=10, sold=2**53, weight="1.50")
