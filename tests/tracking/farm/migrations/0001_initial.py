from django.db import migrations, models

import syncreset.protocol
import syncreset.tracking.fields


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Barn",
            fields=[
                ("last_updated", syncreset.tracking.fields.LastUpdatedField()),
                ("field_timestamps", syncreset.tracking.fields.FieldTimestampsField()),
                ("id", models.UUIDField(default=syncreset.protocol.uuid7, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=40)),
            ],
        ),
        migrations.CreateModel(
            name="Animal",
            fields=[
                ("last_updated", syncreset.tracking.fields.LastUpdatedField()),
                ("field_timestamps", syncreset.tracking.fields.FieldTimestampsField()),
                ("id", models.UUIDField(default=syncreset.protocol.uuid7, primary_key=True, serialize=False)),
                ("barn", models.ForeignKey(on_delete=models.CASCADE, to="farm.barn")),
                ("name", models.CharField(max_length=40)),
                ("feet", models.IntegerField(default=4)),
                ("weight", models.IntegerField(default=0)),
                ("junk", models.CharField(max_length=20, default="")),
            ],
        ),
        migrations.CreateModel(
            name="Pen",
            fields=[
                ("last_updated", syncreset.tracking.fields.LastUpdatedField()),
                ("field_timestamps", syncreset.tracking.fields.FieldTimestampsField()),
                ("id", models.UUIDField(default=syncreset.protocol.uuid7, primary_key=True, serialize=False)),
                ("barn", models.ForeignKey(on_delete=models.CASCADE, to="farm.barn")),
                ("number", models.IntegerField()),
            ],
        ),
    ]
