"""The works: each function takes an effort and yields one :class:`benches.model.Work`."""
