"""The models Pointer is compared with: one file each, a `pointer.trunk.Mixer` with its citation."""
