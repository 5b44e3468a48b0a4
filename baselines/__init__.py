"""The models that Pointer is compared with: one file a baseline, each a `pointer.trunk.Mixer` with its citation."""
