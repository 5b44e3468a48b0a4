"""The models that Pointer is compared with: a file each, a `pointer.trunk.Mixer` with citation."""
