"""The acts of the walk-through, one subject each. `demo_project.walkthrough` plays them in order."""
