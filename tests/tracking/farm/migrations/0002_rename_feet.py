from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("farm", "0001_initial")]
    operations = [
        migrations.RenameField(model_name="animal", old_name="feet", new_name="legs"),
        migrations.AlterField(
            model_name="animal", name="weight", field=models.CharField(max_length=20, default="0")
        ),
        migrations.AddField(
            model_name="animal", name="colour", field=models.CharField(max_length=20, default="")
        ),
        migrations.RemoveField(model_name="animal", name="junk"),
    ]
