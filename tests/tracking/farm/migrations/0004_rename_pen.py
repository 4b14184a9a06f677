from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("farm", "0003_rewrite")]
    operations = [migrations.RenameModel(old_name="Pen", new_name="Stall")]
