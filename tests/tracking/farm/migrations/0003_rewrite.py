from django.db import migrations

# What the migration does to the animals: set by the test that migrates, called with the historical model and barn.
work = []


def rewrite(apps, schema_editor):
    for step in work:
        step(apps.get_model("farm", "Animal"), apps.get_model("farm", "Barn"))


class Migration(migrations.Migration):
    dependencies = [("farm", "0002_rename_feet")]
    operations = [migrations.RunPython(rewrite, migrations.RunPython.noop)]
