import django.core.validators
from django.db import migrations, models

PERCENT = {"empty": "0", "quarter": "25", "half": "50", "full": "100"}


def words_to_numbers(apps, schema_editor):
    vehicles = apps.get_model("ground", "Vehicle").objects
    for word, number in PERCENT.items():
        vehicles.filter(fuel=word).update(fuel=number)


def numbers_to_words(apps, schema_editor):
    vehicles = apps.get_model("ground", "Vehicle").objects
    for vehicle in vehicles.all():
        # The fullest word that the gauge reaches.
        vehicle.fuel = next(
            word for word, number in reversed(PERCENT.items()) if int(vehicle.fuel) >= int(number)
        )
        vehicle.save(update_fields=["fuel"])


class Migration(migrations.Migration):
    dependencies = [("ground", "0001_initial")]

    operations = [
        migrations.RunPython(words_to_numbers, numbers_to_words),
        migrations.AlterField(
            "vehicle",
            "fuel",
            models.PositiveSmallIntegerField(
                default=100,
                validators=[django.core.validators.MaxValueValidator(100)],
                verbose_name="fuel (%)",
            ),
        ),
        migrations.RenameField("vehicle", "place", "stand"),
        migrations.RemoveField("vehicle", "key_note"),
    ]
