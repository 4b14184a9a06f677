"""A market whose products are counted by several people at once."""

from django.db import models

from syncreset.models import SyncTrackedModel
from syncreset.protocol import uuid7
from syncreset.tracking.register import register


class Tag(SyncTrackedModel):
    """What products are marked with. Held by everyone."""

    name = models.CharField(max_length=40, primary_key=True)
    colour = models.CharField(max_length=20, blank=True, default="")

    def __str__(self) -> str:
        return self.name


class Product(SyncTrackedModel):
    """One counter of each kind of number, and `ordered`, which may be null; relations to others and to itself."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    stock = models.PositiveSmallIntegerField(default=0)
    sold = models.BigIntegerField(default=0)
    weight = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    ordered = models.IntegerField(null=True, blank=True)
    tags = models.ManyToManyField(Tag, blank=True, related_name="products")
    goes_with = models.ManyToManyField("self", blank=True)

    class SyncMeta:
        counters = ["stock", "sold", "weight", "ordered"]

    def __str__(self) -> str:
        return self.name


class Basket(SyncTrackedModel):
    """Its products are rows of a model of their own, with amounts."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    products = models.ManyToManyField(Product, through="Portion", related_name="baskets")


class Portion(SyncTrackedModel):
    """How much of a product is in a basket."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    basket = models.ForeignKey(Basket, on_delete=models.CASCADE)
    product = models.ForeignKey(Product, on_delete=models.CASCADE)
    amount = models.IntegerField(default=1)
    packed = models.DateTimeField(auto_now_add=True)
    weighed = models.DateTimeField(auto_now=True)


class Locker(SyncTrackedModel):
    """Every field is unique in some way, most of them without a null to take refuge in."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    number = models.PositiveSmallIntegerField(unique=True)
    letter = models.CharField(max_length=1, unique=True)
    seal = models.UUIDField(unique=True, default=uuid7)
    weight = models.DecimalField(max_digits=4, decimal_places=1, unique=True)
    rented = models.DateField(unique=True)
    checked = models.DateTimeField(unique=True)
    corridor = models.TextField()
    shelf = models.BigIntegerField()
    product = models.OneToOneField(Product, on_delete=models.CASCADE, related_name="locker")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["corridor", "shelf"], name="one_locker")]

    def __str__(self) -> str:
        return f"{self.number}{self.letter}"


class Stand(models.Model):
    """As if another package had made it: it cannot inherit, and knows nothing of syncing. A scope, too."""

    code = models.CharField(max_length=20, primary_key=True)
    name = models.CharField(max_length=100)


class Trader(models.Model):
    """As above, with a scope, a secret that must never leave the server, and a field that only the server fills."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    stand = models.ForeignKey(Stand, on_delete=models.CASCADE, related_name="traders")
    name = models.CharField(max_length=100)
    phone = models.CharField(max_length=40, null=True, blank=True)
    debts = models.IntegerField(default=0)
    notes = models.JSONField(default=dict, blank=True)
    pin = models.CharField(max_length=20, default="0000")
    rank = models.CharField(max_length=20, blank=True)
    sells = models.ManyToManyField(Product, blank=True, related_name="traders")
    knows = models.ManyToManyField("self", blank=True, symmetrical=False)
    hides = models.ManyToManyField(Product, blank=True, related_name="+")

    def __str__(self) -> str:
        return self.name


register(Stand, fields=["name"], scope="code")
register(
    Trader,
    fields=["stand", "name", "phone", "debts", "notes", "sells", "knows"],
    scope="stand",
    counters=["debts"],
)
