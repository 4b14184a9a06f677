"""Events: who listens in this process, and how they hear that something in their scopes was touched."""
