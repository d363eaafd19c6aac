"""An async pool under whoever wraps what it makes: tracers, task factories, other event loops."""
